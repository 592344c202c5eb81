/* base_name.h - finds the name of the base to write into an adapter's adapter_config.json.
 *
 * PEFT's AutoPeftModel opens base_model_name_or_path, which must be a model's directory or a hub
 * name. A weights stream is neither. For a stream, the result is the recipe's `tokenizer` (a
 * directory or a GGUF file), if a digest shows that it has the weights of the stream's source.
 */
#ifndef LONGQLORA_BASE_NAME_H
#define LONGQLORA_BASE_NAME_H

#include "lib/llama/weights.h"

/* Writes the name into name[size]. model: a directory, a GGUF or a stream; tokenizer: a directory
 * or a GGUF, or NULL; w: the model's weights. For a snapshot in the hub's cache, the result is the
 * model's name on the hub. Otherwise it is the path. For a stream, the function may read all
 * weights in `tokenizer` to compute their digest. Returns true if the name is that of `tokenizer`.
 */
bool base_name(const char *model, const char *tokenizer, const struct weights *w, char *name,
               size_t size);

#endif
