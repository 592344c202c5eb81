/* optimiser.h - the learning-rate schedules of transformers, and one step of AdamW (Loshchilov and
 * Hutter 2019) with gradient clipping over all parameters of a model.
 */
#ifndef LONGQLORA_MODEL_OPTIMISER_H
#define LONGQLORA_MODEL_OPTIMISER_H

#include "model/model.h"

enum schedule {
    SCHEDULE_CONSTANT,
    SCHEDULE_CONSTANT_WITH_WARMUP,
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE
};

struct optimiser {
    enum schedule schedule;
    /* decay: AdamW's weight decay, which biases and gains of norms do not have. max_norm 0:
     * gradients are not clipped. */
    double learning_rate, beta1, beta2, eps, decay, max_norm;
    int64_t warmup, steps; /* updates of the warm-up, and of the whole schedule */
};

/* Returns the learning rate of update number `done` + 1. During warm-up it is done/warmup of the
 * full rate, so the first update has rate 0, as in transformers. */
double optimiser_rate(const struct optimiser *o, int64_t done);

/* True if both schedules have the same rate in each of the updates first + 1 to last. */
bool optimiser_agrees(const struct optimiser *a, const struct optimiser *b, int64_t first,
                      int64_t last);

/* Divides the gradient by loss_scale and clips its L2 norm over all parameters to max_norm, as
 * torch's clip_grad_norm_ does. Then it updates the parameters and zeroes the gradient. *norm is
 * the norm before clipping. If it is not finite, nothing is updated and 1 is returned. */
int optimiser_step(const struct optimiser *o, struct model *m, int64_t done, double loss_scale,
                   double *norm, struct fail *why) MUST_USE;

#endif
