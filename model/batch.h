/* batch.h - samples become rows: targets, positions, and who may see whom.
 *
 * S2-Attn (LongLoRA, Chen et al. 2023, section 3.2) without its wrap-around is
 * causal attention over segments: the first half of the heads inside [0,G), [G,2G),
 * …; the second inside [0,G/2), [G/2,3G/2), …. Of an odd number of heads the first half is
 * the smaller one, as in LongLoRA's code: the second begins at heads / 2, rounded down. Document
 * masking cuts the same segments at document borders; full attention is one segment.
 */
#ifndef LONGQLORA_MODEL_BATCH_H
#define LONGQLORA_MODEL_BATCH_H

#include "lib/stream/tokens.h"
#include "model/model.h"

struct attention_plan {
    int64_t group; /* G; 0: full attention */
    bool masks_documents;
};

/* Fails if G is odd. */
int batch_check_attention(const struct attention_plan *a, struct fail *why) MUST_USE;

/* Room for so many rows in one block; released by batch_release. */
int batch_init(struct batch *b, int64_t rows, struct fail *why) MUST_USE;
void batch_release(struct batch *b);

/* Appends a sample's rows after those that are there; returns its number of targets. The
 * caller has seen to the room. */
int64_t batch_add(struct batch *b, const struct sample *s, const struct attention_plan *a);
/* The same for bare tokens: all are targets but the first, full attention. */
void batch_add_window(struct batch *b, const uint32_t *ids, int64_t count);
/* How many targets batch_add would find. */
int64_t sample_targets(const struct sample *s, const struct attention_plan *a);

#endif
