/* rows.h - do samples fit a model whose vocabulary has another size than their tokenizer's? */
#ifndef LONGQLORA_ROWS_H
#define LONGQLORA_ROWS_H

#include "lib/stream/tokens.h"

/* A tokenizer may have fewer tokens than the model has rows (padding, tokens that were added to the
 * model alone). Where it has more, all samples are looked through, and a token beyond the rows
 * fails by name. */
int rows_check(struct reader *samples, const struct sample_info *info, int64_t rows,
               struct fail *why) MUST_USE;

#endif
