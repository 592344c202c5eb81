/* quantizer.h - quantizes one linear after the other to NF4 (QLoRA, Dettmers et al. 2023, section
 * 3).
 */
#ifndef LONGQLORA_QUANTIZER_H
#define LONGQLORA_QUANTIZER_H

#include "kernels/kernels.h"
#include "lib/llama/weights.h"

/* Errors of the linears of one kind, for example of the q_proj of all layers. */
struct kind_error {
    int64_t count, worst_layer;
    double sum, worst; /* of the relative errors */
};

struct quantizer {
    const struct weights *weights;
    const char *path; /* path of the model, for messages */
    const struct kernels *k;
    struct device *dev;
    float *wide; /* one piece of a tensor in f32 */
    /* rows of a GGUF's packed tensor, as weights_rows gives them, as many as wide holds */
    float *rows;
    float *absmax_f32; /* absmax of each block of the tensor, before it is quantized itself */
    /* of the last linear that was quantized */
    uint8_t *codes, *absmax;
    float *absmax_scale, offset;
    struct nf4_error error, errors; /* of the last linear, and of all linears so far */
    struct kind_error kinds[PART_COUNT];
    bool is_verbose; /* also prints the error of each linear */
};

int quantizer_open(struct quantizer *q, const struct weights *w, const char *path,
                   struct fail *why) MUST_USE;
void quantizer_close(struct quantizer *q);

/* How many rows of a packed tensor q->rows holds: a multiple of those after which NF4 begins a new
 * nested scale. */
int64_t quantizer_rows(const struct tensor *t);

/* Quantizes linear i of the table and computes its error. Fails if a value is not finite, and names
 * the tensor and the place. */
int quantizer_linear(struct quantizer *q, int64_t i, struct fail *why) MUST_USE;
/* Checks a tensor that is stored unchanged: fails if a value is not finite. */
int quantizer_check(struct quantizer *q, int64_t i, struct fail *why) MUST_USE;

/* Prints the errors by kind of linear and in total. */
void quantizer_report(const struct quantizer *q);

#endif
