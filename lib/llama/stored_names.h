/* stored_names.h - explains tensor names that do not belong to a LLaMA model.
 *
 * A model that was saved inside a wrapper, with its adapter, or by another program has other tensor
 * names. The hints say where such names come from and what to do.
 */
#ifndef LONGQLORA_STORED_NAMES_H
#define LONGQLORA_STORED_NAMES_H

#include "lib/llama/model_files.h"

/* Returns a hint to append to an error message about the tensor name. It begins with "; ". Returns
 * "" for a name that is not recognised. */
const char *stored_name_hint(const char *name);
/* Returns the first hint for a tensor of the files; "" if no tensor has one. */
const char *stored_names_hint(const struct model_files *files);

#endif
