/* batch.h - turns samples into rows: ids, targets, positions, and the first key that each row sees.
 *
 * S2-Attn (LongLoRA, Chen et al. 2023, section 3.2) without its wrap-around is causal attention
 * inside segments of G rows. In the first half of the heads the segments are [0,G), [G,2G), …. In
 * the second half they are shifted: [0,G/2), [G/2,3G/2), …. The second half begins at head number
 * heads / 2, rounded down as in LongLoRA's code. Document masking cuts the same segments at
 * document borders. Full attention is one segment.
 */
#ifndef LONGQLORA_MODEL_BATCH_H
#define LONGQLORA_MODEL_BATCH_H

#include "lib/stream/tokens.h"
#include "model/model.h"

struct attention_plan {
    int64_t group; /* G in tokens; 0: full attention */
    bool masks_documents;
};

/* Fails if G is odd. */
int batch_check_attention(const struct attention_plan *a, struct fail *why) MUST_USE;

/* Allocates the five arrays of a batch, `rows` entries each, in one block that batch_release
 * frees. */
int batch_init(struct batch *b, int64_t rows, struct fail *why) MUST_USE;
void batch_release(struct batch *b);

/* Appends a sample's rows to the batch and returns the number of its targets. The caller must have
 * checked that the batch has room for s->count more rows. */
int64_t batch_add(struct batch *b, const struct sample *s, const struct attention_plan *a);
/* Appends a window of tokens, with full attention. Every token but the first is a target. */
void batch_add_window(struct batch *b, const uint32_t *ids, int64_t count);
/* Returns the number of targets that batch_add would find in the sample. */
int64_t sample_targets(const struct sample *s, const struct attention_plan *a);

#endif
