/* quantizer.h - quantizes one linear layer after the other to NF4 (QLoRA, Dettmers et al. 2023,
 * section 3).
 */
#ifndef LONGQLORA_QUANTIZER_H
#define LONGQLORA_QUANTIZER_H

#include "kernels/kernels.h"
#include "lib/llama/weights.h"

/* Errors of the linear layers of one kind, for example of the q_proj of all transformer layers. */
struct kind_error {
    int64_t count, worst_layer;
    double sum, worst; /* sum and largest of the relative errors */
};

struct quantizer {
    const struct weights *weights;
    const char *path; /* path of the model, for messages */
    const struct kernels *k;
    struct device *dev;
    float *wide; /* one piece of a tensor in f32 */
    /* Rows of a packed tensor of a GGUF, from weights_rows. It has the size of `wide`. */
    float *rows;
    float *absmax_f32; /* absmax of each block of the tensor, before absmax itself is quantized */
    /* the codes of the linear layer that was quantized last */
    uint8_t *codes, *absmax;
    float *absmax_scale, offset;
    struct nf4_error error, errors; /* the error of the last linear layer, and of all so far */
    struct kind_error kinds[PART_COUNT];
    bool is_verbose; /* also prints the error of each linear layer */
};

int quantizer_open(struct quantizer *q, const struct weights *w, const char *path,
                   struct fail *why) MUST_USE;
void quantizer_close(struct quantizer *q);

/* How many rows of a packed GGUF tensor q->rows holds. The number is a multiple of the rows
 * after which NF4 begins a new nested block. */
int64_t quantizer_rows(const struct tensor *t);

/* Quantizes tensor i of the table, the weight of a linear layer, and computes its error. Fails if a
 * value is not finite; the message names the tensor and the place. */
int quantizer_linear(struct quantizer *q, int64_t i, struct fail *why) MUST_USE;
/* Checks a tensor that is stored unchanged: fails if a value is not finite. */
int quantizer_check(struct quantizer *q, int64_t i, struct fail *why) MUST_USE;

/* Prints the errors for each kind of linear layer and in total. */
void quantizer_report(const struct quantizer *q);

#endif
