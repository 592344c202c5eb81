/* packer.h - documents become training samples of one context.
 *
 * truncate: one document a sample, cut at the context (the report's way). split: a
 * document as many full samples as it fills, a short one whole. concat: documents
 * joined and cut at the context (LongLoRA's way); what does not fill a sample at the
 * end is cut. best-fit: documents longer than the context give full samples, and what is
 * left of them and all shorter ones share samples, none of them split. Nothing is lost uncounted:
 * tokens in = kept + cut.
 */
#ifndef LONGQLORA_PACKER_H
#define LONGQLORA_PACKER_H

#include "tools/pack/spill.h"

enum strategy { STRATEGY_TRUNCATE, STRATEGY_SPLIT, STRATEGY_CONCAT, STRATEGY_BEST_FIT };

/* Pieces that wait for best-fit to see them all. */
struct pieces {
    struct spill *spill;
    uint64_t *offset;
    uint32_t *length;
    size_t count, capacity;
};

struct packer {
    enum strategy strategy;
    uint64_t context;
    struct sample sample; /* under construction */
    size_t document_capacity, target_room;
    struct pieces pieces;
    uint64_t samples, kept, cut, without_target;
    int (*take)(void *arg, const struct sample *s, struct fail *why);
    void *arg;
};

int packer_add(struct packer *p, const struct tokens *t, struct fail *why) MUST_USE;
/* Counts as cut what concat has left over; makes the samples that best-fit chooses. */
int packer_end(struct packer *p, struct fail *why) MUST_USE;
void packer_release(struct packer *p);

#endif
