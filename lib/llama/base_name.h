/* base_name.h - what an adapter's adapter_config.json calls its base.
 *
 * PEFT and its AutoPeftModel open what stands in base_model_name_or_path: a model's directory, or a
 * name of the hub. A weights stream is neither. Its adapter names the directory that the
 * recipe takes the tokenizer from, where that is the very model that the stream was made of: the
 * digest of its tensors says so.
 */
#ifndef LONGQLORA_BASE_NAME_H
#define LONGQLORA_BASE_NAME_H

#include "lib/llama/weights.h"

/* model: a directory or a stream; tokenizer: a directory, or NULL; w: the model's. A folder of the
 * hub's cache becomes the name that it has in the hub. Without anything better: model as it is. May
 * read all of the tokenizer's directory. */
void base_name(const char *model, const char *tokenizer, const struct weights *w, char *name,
               size_t size);

#endif
