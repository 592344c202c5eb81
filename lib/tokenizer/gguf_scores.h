/* gguf_scores.h - computes scores of SentencePiece's pieces from the merges of a tokenizer.json.
 *
 * llama.cpp has no list of merges. It joins the two neighbours that make the piece with the highest
 * score. Scores can express a list of merges if two conditions hold: all merges that make the same
 * piece follow one another in the list, and each way to cut a piece into two pieces is in the list.
 * Both hold for a list that was made from a SentencePiece model (gguf_merges.c). The score of a
 * piece is then minus the place of its merges in the list.
 *
 * Pieces that are added tokens need no scores. Gemma has such pieces for runs of spaces: there the
 * merges must also give the longest runs, from the left, before a space merges with anything else.
 */
#ifndef LONGQLORA_TOKENIZER_GGUF_SCORES_H
#define LONGQLORA_TOKENIZER_GGUF_SCORES_H

#include "lib/common/fail.h"

struct tokenizer;

/* Returns the scores [count] of the pieces, which the caller frees; NULL with *why if these
 * conditions do not hold. */
float *gguf_scores_make(const struct tokenizer *t, struct fail *why);

#endif
