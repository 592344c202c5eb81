/* model_max_length.h - the context that a tokenizer_config.json tells.
 *
 * Programs that serve a model cut texts or warn at its model_max_length. Where a model's context
 * is extended, this number is written anew; every other byte of the file stays, so that large whole
 * numbers and the order of keys stay too.
 */
#ifndef LONGQLORA_LLAMA_MODEL_MAX_LENGTH_H
#define LONGQLORA_LLAMA_MODEL_MAX_LENGTH_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the number stands in the text; false if there is no object with such a number in it. */
bool model_max_length_find(const char *text, size_t bytes, size_t *at, size_t *length);
/* Raises it to the context in that directory's file; a larger one stays, and so does a file without
 * it. */
int model_max_length_raise(const char *directory, int64_t context, struct fail *why) MUST_USE;

#endif
