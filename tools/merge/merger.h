/* merger.h - W + s·B·A in f32, rounded once, in pieces of rows that stay in the cache. */
#ifndef LONGQLORA_MERGER_H
#define LONGQLORA_MERGER_H

#include "../../lib/llama/base_digest.h"
#include "../../lib/llama/directory.h"
#include "../../lib/llama/loaded.h"

struct merger {
    const struct weights *base;
    const struct adapter *adapter;
    const char *base_path, *adapter_path; /* for messages; set after merger_open */
    const struct kernels *k;
    struct device *dev;
    const enum dtype *dtypes;       /* of the results, [base->count] */
    float *wide, *change;           /* rows of the tensor, and what is added to them */
    void *narrow;                   /* the result */
    int64_t room;                   /* elements of each */
    double squares, change_squares; /* ‖W‖² and ‖ΔW‖² of the adapted tensors */
    int64_t merged, replaced;
    struct base_reading *reading; /* the base's digest on the way, if it is to be checked */
};

/* Room for any tensor's pieces. checks_base: the last tensor fails if the base is not the
 * adapter's; the others are to be made before it, in their order. */
int merger_open(struct merger *m, const struct weights *base, const struct adapter *adapter,
                const enum dtype *dtypes, bool checks_base, int threads, struct fail *why) MUST_USE;
void merger_close(struct merger *m);

/* arg is a struct merger: one tensor of the output. (directory_produce) */
int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why);

#endif
