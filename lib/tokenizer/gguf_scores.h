/* gguf_scores.h - the scores of SentencePiece's pieces, made of the merges of a tokenizer.json.
 *
 * llama.cpp merges the two neighbours whose piece has the highest score, and has no list of merges.
 * A tokenizer.json that was made of a SentencePiece model (gguf_merges.c) merges the same if every
 * piece's merges stand together in its list and no way to cut a piece in two is missing. Then the
 * place in the list gives the score.
 */
#ifndef LONGQLORA_TOKENIZER_GGUF_SCORES_H
#define LONGQLORA_TOKENIZER_GGUF_SCORES_H

#include "lib/common/fail.h"

struct tokenizer;

/* Returns the scores [count] of the pieces, which the caller frees; NULL with *why if scores cannot
 * say what the merges say. */
float *gguf_scores_make(const struct tokenizer *t, struct fail *why);

#endif
