/* samples.h - measures the loss of samples' targets, as an evaluation of train does: each sample by
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

/* Returns the place in contexts [n] of the smallest context that holds this many tokens; -1 if none
 * does. */
int samples_row(int64_t tokens, const int64_t *contexts, int n);

/* Measures the samples whose row is `row`. score->windows is their number. */
int samples_run(const struct samples *s, struct model *m, const int64_t *contexts, int n, int row,
                struct score *score, struct fail *why) MUST_USE;

#endif
