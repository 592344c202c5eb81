/* rows.h - checks that samples go with a model. */
#ifndef LONGQLORA_ROWS_H
#define LONGQLORA_ROWS_H

#include "lib/llama/weights.h"
#include "lib/stream/tokens.h"

/* Fails if the samples were made with another tokenizer than that of the weights or of the adapter
 * (a directory, or NULL), or at the first token that has no row. A tokenizer may have fewer tokens
 * than the model has rows, because of padding or of tokens that were added to the model. If it has
 * more, all samples are read. */
int rows_check(struct reader *samples, const struct sample_info *info, const struct weights *w,
               int64_t rows, const char *adapter, struct fail *why) MUST_USE;

#endif
