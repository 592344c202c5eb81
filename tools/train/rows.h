/* rows.h - checks that samples fit a model whose vocabulary differs in size from their tokenizer's.
 */
#ifndef LONGQLORA_ROWS_H
#define LONGQLORA_ROWS_H

#include "lib/stream/tokens.h"

/* A tokenizer may have fewer tokens than the model has rows, because of padding or tokens that were
 * added to the model. If it has more, all samples are read. Fails at the first token that has no
 * row, and names it. */
int rows_check(struct reader *samples, const struct sample_info *info, int64_t rows,
               struct fail *why) MUST_USE;

#endif
