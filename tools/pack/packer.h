/* packer.h - cuts documents into training samples of one context length L.
 *
 *     truncate  one document per sample, cut at L (as in the LongQLoRA report)
 *     split     a document gives as many full samples as it fills, and its rest is cut off; a
 *               document shorter than L stays whole
 *     concat    documents are joined and cut at L (as in LongLoRA); an incomplete sample at
 *               the end is cut off
 *     best-fit  documents longer than L give full samples; their ends and all shorter documents
 *               share samples, and none of these is split
 *
 * A sample without a target (targets.h) is cut off, because it would teach nothing. Every token is
 * counted: tokens in = kept + cut.
 */
#ifndef LONGQLORA_PACKER_H
#define LONGQLORA_PACKER_H

#include "tools/pack/spill.h"

enum strategy { STRATEGY_TRUNCATE, STRATEGY_SPLIT, STRATEGY_CONCAT, STRATEGY_BEST_FIT };

/* Pieces that are kept until best-fit has seen all of them. */
struct pieces {
    struct spill *spill;
    uint64_t *offset;
    uint32_t *length;
    size_t count;
};

struct packer {
    enum strategy strategy;
    uint64_t context;
    struct sample sample; /* the sample that is being filled */
    struct pieces pieces;
    uint64_t samples, without_target; /* samples that were given to `take`, and that were cut off */
    uint64_t kept, cut;               /* tokens */
    /* Called with each finished sample, which belongs to the packer. */
    int (*take)(void *arg, const struct sample *s, struct fail *why);
    void *arg;
};

/* Adds a document. Zero *p and set strategy, context, take and arg before the first call. */
int packer_add(struct packer *p, const struct tokens *t, struct fail *why) MUST_USE;
/* Ends the input. concat counts the rest as cut; best-fit chooses and writes its samples. */
int packer_end(struct packer *p, struct fail *why) MUST_USE;
void packer_release(struct packer *p);

#endif
