/* rounds.h - computes the gradients of a step in rounds. A step's batches are cut into blocks of
 * gradient_block batches. In each round every rank computes one block. In the last round there may
 * be fewer blocks than ranks; then some ranks are idle. With context_segments a group of ranks,
 * instead of one rank, computes one sample in each round (groups.h).
 */
#ifndef LONGQLORA_ROUNDS_H
#define LONGQLORA_ROUNDS_H

#include "tools/train/trainer.h"

/* Adds the gradient of the step's mean loss, times the loss scale, to the model's gradients.
 * t->step has the samples of the step, and `targets` is their number of targets. Fills in loss,
 * targets and tokens of *result. Returns 1 if the run is to stop (sharing_stops). */
int rounds_add_gradients(struct trainer *t, int64_t targets, struct step_result *result,
                         struct fail *why) MUST_USE;

#endif
