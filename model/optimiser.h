/* optimiser.h - learning-rate schedules as transformers counts them, and one AdamW
 * step with clipping over all of a model's parameters.
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

/* -1 if the name is not one of transformers' that are computed here. */
int schedule_parse(const char *name, enum schedule *schedule);
const char *schedule_name(enum schedule schedule);

struct optimiser {
    enum schedule schedule;
    double learning_rate, beta1, beta2, eps, decay, max_norm; /* max_norm 0: not clipped */
    int64_t warmup, steps;
};

/* Of update number `done` + 1. In the warm-up done/warmup, so the first update has rate 0,
 * as transformers' schedulers have it. */
double optimiser_rate(const struct optimiser *o, int64_t done);

/* Do both give updates first + 1 to last the same rates? */
bool optimiser_agrees(const struct optimiser *a, const struct optimiser *b, int64_t first,
                      int64_t last);

/* Clips the gradient to max_norm (its L2 norm over everything; torch's clip_grad_norm_),
 * updates, zeroes it. The gradient is that of loss_scale times the loss. *norm: before
 * clipping, of the unscaled one; if it is not finite, nothing is updated and 1 returned. */
int optimiser_step(const struct optimiser *o, struct model *m, int64_t done, double loss_scale,
                   double *norm, struct fail *why) MUST_USE;

#endif
