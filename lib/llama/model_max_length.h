/* model_max_length.h - changes the context length in a tokenizer_config.json.
 *
 * Programs that serve a model cut texts, or warn, at model_max_length. If a model's context is
 * extended, this number is replaced in the text of the file. Every other byte stays, so large
 * integers and the order of keys stay too.
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
/* Raises the number in that directory's tokenizer_config.json to `context`. A larger number stays.
 * A file without the key stays unchanged. */
int model_max_length_raise(const char *directory, int64_t context, struct fail *why) MUST_USE;

#endif
