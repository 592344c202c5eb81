/* model_max_length.h - changes the context length in a tokenizer_config.json.
 *
 * Programs that serve a model cut longer texts at model_max_length, or warn. If a model's context
 * is extended, only the digits of this number are replaced in the file. No other byte changes.
 * A JSON library would write large integers and the order of keys in another way.
 */
#ifndef LONGQLORA_LLAMA_MODEL_MAX_LENGTH_H
#define LONGQLORA_LLAMA_MODEL_MAX_LENGTH_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Finds the number in a text: text[*at .. *at + *length). Returns false if the text is no object
 * with such a number. */
bool model_max_length_find(const char *text, size_t bytes, size_t *at, size_t *length);
/* Raises the number in the directory's tokenizer_config.json to `context`. A number that is already
 * larger stays. A file without the key is not changed. */
int model_max_length_raise(const char *directory, int64_t context, struct fail *why) MUST_USE;

#endif
