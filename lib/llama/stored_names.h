/* stored_names.h - names of tensors that a LLaMA's directory has not, and where they come from.
 *
 * A model that was saved out of a wrapper, beside its adapter or by another program has names of
 * its own. What can be said of them and what to do is said here.
 */
#ifndef LONGQLORA_STORED_NAMES_H
#define LONGQLORA_STORED_NAMES_H

#include "lib/llama/model_files.h"

/* "; …" to stand after a message on that name; "" where nothing is known of it. */
const char *stored_name_hint(const char *name);
/* The same of all tensors of the files: the first hint that there is. */
const char *stored_names_hint(const struct model_files *files);

#endif
