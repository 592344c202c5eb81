/* sharing.h - several ranks that share a run. Rank 0 has the folder of the run: it writes what one
 * process writes. The others compute batches, and follow.
 */
#ifndef LONGQLORA_SHARING_H
#define LONGQLORA_SHARING_H

#include "tools/train/trainer.h"

/* Is this rank 0, or the only one? */
bool sharing_is_first(const struct trainer *t);
int64_t sharing_count(const struct trainer *t);

/* Fails if a rank was started with another recipe, with other inputs or another program than rank
 * 0. Names the first difference, the rank and its machine. */
int sharing_agree(struct trainer *t, struct fail *why) MUST_USE;
/* Gives all ranks what rank 0 has found in the run's folder: the checkpoint, its state, and how the
 * run goes on from there. */
int sharing_tell_checkpoint(struct trainer *t, struct fail *why) MUST_USE;
/* Copies rank 0's bytes to all. */
int sharing_tell(struct trainer *t, void *at, size_t bytes, struct fail *why) MUST_USE;

/* Called by all ranks in each round. all [ranks][count] has this rank's numbers in its row, and
 * gets those of the others. If a rank was asked to stop by a signal, or has kept a failure, all
 * ranks stop (sharing_stops). */
int sharing_numbers(struct trainer *t, double *all, int64_t count, struct fail *why) MUST_USE;
/* Takes the status of work that each rank does by itself. If there are several ranks, keeps a
 * failure for the next sharing_numbers and returns 0, because the others wait there. `saves`: the
 * parameters are those of a complete step. If there is one rank, returns the status. With samples
 * in segments the work must not be a pass, because the others would wait inside of it. */
int sharing_keep(struct trainer *t, int status, bool saves, const struct fail *why);
/* After a failure of this rank before the step's first round: stops together with the others, which
 * call sharing_numbers in that round, and returns 1. Returns -1 if there is one rank. */
int sharing_fail_before_batches(struct trainer *t, struct fail *why) MUST_USE;
/* True if the run stops: if all ranks have agreed to, or if the only rank was asked to. */
bool sharing_stops(struct trainer *t);
/* Returns how many bytes all ranks together send in sharing_numbers. */
uint64_t sharing_bytes(int64_t ranks, int64_t count);

/* On rank 0, before it writes a state: the others begin to give their moments. */
int sharing_ask_for_state(struct trainer *t, struct fail *why) MUST_USE;
/* On rank 0, during long work that it does alone: the others wait in sharing_meet for another
 * --rank-timeout. */
int sharing_ask_to_wait(struct trainer *t, struct fail *why) MUST_USE;
/* Called by all ranks after work that rank 0 does alone. The others give their moments as often as
 * rank 0 asks, until rank 0 calls this function too. Then they have rank 0's state. Returns a
 * status above 0 on the others if rank 0 has called sharing_end instead. */
int sharing_meet(struct trainer *t, struct fail *why) MUST_USE;
/* On rank 0, if the work that it does alone has failed: the others end with this status. */
int sharing_end(struct trainer *t, enum status status, struct fail *why) MUST_USE;

#endif
