/* samples.h - measures the loss of samples' targets as the evaluation in train does: each sample by
 * itself, with full attention.
 */
#ifndef LONGQLORA_PPL_SAMPLES_H
#define LONGQLORA_PPL_SAMPLES_H

#include "model/batch.h"
#include "tools/ppl/protocol.h"

struct samples {
    const struct sample *at; /* [count] */
    size_t count;
    bool masks_documents;
};

/* Returns the index in contexts [n] of the smallest context that is long enough for this many
 * tokens; -1 if none is. */
int samples_row(int64_t tokens, const int64_t *contexts, int n);

/* Measures the samples for which samples_row gives `row`. score->windows becomes their number. All
 * ranks of `turns` call it, and get the same score. */
int samples_run(const struct samples *s, struct model *m, const int64_t *contexts, int n, int row,
                struct turns *turns, struct score *score, struct fail *why) MUST_USE;

#endif
