/* quantizer.h - one linear after the other to NF4. */
#ifndef LONGQLORA_QUANTIZER_H
#define LONGQLORA_QUANTIZER_H

#include "kernels/kernels.h"
#include "lib/llama/weights.h"

/* Of the linears of one kind: all layers' q_proj, say. */
struct kind_error {
    int64_t count, worst_layer;
    double sum, worst; /* of the linears' relative errors */
};

struct quantizer {
    const struct weights *weights;
    const char *path; /* of the model, for messages */
    const struct kernels *k;
    struct device *dev;
    float *wide; /* a piece in f32 */
    float *tops; /* absmax of the tensor's blocks */
    /* the last linear */
    uint8_t *codes, *absmax;
    float *absmax_scale, offset;
    struct nf4_error error, errors; /* its own, and of all so far */
    struct kind_error kinds[PART_COUNT];
    bool is_verbose; /* says each linear's error too */
};

int quantizer_open(struct quantizer *q, const struct weights *w, const char *path,
                   struct fail *why) MUST_USE;
void quantizer_close(struct quantizer *q);

/* Quantizes linear i of the table and finds its error. Fails on a value that is not
 * finite, naming tensor and place. */
int quantizer_linear(struct quantizer *q, int64_t i, struct fail *why) MUST_USE;
/* The same check for a tensor that is kept as it is. */
int quantizer_check(struct quantizer *q, int64_t i, struct fail *why) MUST_USE;

/* Says the errors of all linears: by kind and together. */
void quantizer_report(const struct quantizer *q);

#endif
