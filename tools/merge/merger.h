/* merger.h - W + s·B·A in f32, rounded once, tensor by tensor. */
#ifndef LONGQLORA_MERGER_H
#define LONGQLORA_MERGER_H

#include "../../lib/llama/adapter.h"
#include "../../lib/llama/directory.h"

struct merger {
    const struct weights *base;
    const struct adapter *adapter;
    const struct kernels *k;
    struct device *dev;
    const enum dtype *dtypes;
    float *wide;                    /* the tensor, [rows, cols] */
    double squares, change_squares; /* ‖W‖² and ‖ΔW‖² of the adapted tensors */
    int64_t merged, replaced;
};

/* arg is a struct merger: one tensor of the output. (directory_produce) */
int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why);

#endif
