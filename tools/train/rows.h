/* rows.h - checks that samples can be used with a model. */
#ifndef LONGQLORA_ROWS_H
#define LONGQLORA_ROWS_H

#include "lib/llama/weights.h"
#include "lib/stream/tokens.h"

/* Fails unless the samples were made with the tokenizer of the weights, or with the one in the
 * adapter's directory (NULL: none). Fails also if a sample has a token without a row in the
 * embedding. A tokenizer may have fewer tokens than the model has rows, because models have padded
 * or added rows. If the tokenizer has more tokens than rows, all samples are read to check each
 * token. */
int rows_check(struct reader *samples, const struct sample_info *info, const struct weights *w,
               int64_t rows, const char *adapter, struct fail *why) MUST_USE;

#endif
