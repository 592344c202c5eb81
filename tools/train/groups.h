/* groups.h - samples in segments (context_segments), which several ranks may share.
 *
 * The ranks are in groups of neighbours. Each group computes one sample at a time, and each of its
 * ranks the same number of neighbouring segments. Without context_segments a group is one rank, and
 * a sample is one segment.
 */
#ifndef LONGQLORA_GROUPS_H
#define LONGQLORA_GROUPS_H

#include "tools/train/trainer.h"

/* Sets how the run's setup cuts samples, and how many ranks share one: `asked`, or as many as
 * possible if it is 0. Fails if the context, a chunk or the number of ranks does not fit. */
int groups_plan(struct trainer *t, int64_t asked, struct fail *why) MUST_USE;
/* Changes a setup so that the ranks of a sample exchange heads instead of groups, or groups instead
 * of heads. Returns false if they cannot. */
bool groups_exchange_otherwise(const struct trainer *t, struct model_setup *setup);
/* The ranks of a sample must store and recompute the same activations. So all ranks of the run
 * store what the rank stores whose memory holds the least. */
int groups_agree(struct trainer *t, struct fail *why) MUST_USE;

/* Was the run asked to stop in the middle of a step or of an evaluation? Several ranks with
 * segments stop only where they have shared their losses. */
bool groups_are_stopped(const struct trainer *t);

/* How many groups of ranks there are, and the number of this rank's group. */
int64_t groups_count(const struct trainer *t);
int64_t groups_own(const struct trainer *t);
/* Computes the losses of this rank's segments from t->nll, after model_loss. */
void groups_sum_losses(struct trainer *t);
/* The losses of a rank without a sample are 0. */
void groups_clear_losses(struct trainer *t);
/* Called by all ranks: adds the losses of all segments to *sum, in the order of samples and
 * segments. */
int groups_add_losses(struct trainer *t, double *sum, struct fail *why) MUST_USE;

/* Called by all ranks before their passes, in which the ranks of a sample wait for each other.
 * Tells all ranks whether one of them was asked to stop or has kept a failure; if so, returns 1. */
int groups_meet(struct trainer *t, struct fail *why) MUST_USE;

/* After a loss was not finite, finds out whether this rank computed it, and names the fault. Called
 * by all ranks of a sample, which repeat its forward, because attention needs all of them. */
bool groups_have_fault(struct trainer *t, bool has_sample, struct dropout drop, struct fail *fault);
/* Called by all ranks after a loss was not finite. All ranks of a sample repeat its forward,
 * because attention needs all of them. Returns on the first rank that has such a loss, and names
 * the fault; the others wait until that rank ends the run. */
void groups_find_fault(struct trainer *t, bool has_sample, struct dropout drop, struct fail *fault);

/* Computes the gradient of the step's mean loss, times the loss scale, of samples in segments. In
 * each round every group of ranks computes one sample, if there is one left for it. `drop` is the
 * dropout of the step's first row. Returns 1 if the run is to stop (sharing_stops). */
int groups_add_gradients(struct trainer *t, int64_t targets, struct dropout drop,
                         struct step_result *result, struct fail *why) MUST_USE;

#endif
