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
/* Gives all ranks what rank 0 has found in the run's folder: the checkpoint, and the state. */
int sharing_tell_checkpoint(struct trainer *t, struct fail *why) MUST_USE;
/* Copies rank 0's bytes to all. */
int sharing_tell(struct trainer *t, void *at, size_t bytes, struct fail *why) MUST_USE;

/* Called by all ranks in each round. all [ranks][count] has this rank's numbers in its row, and
 * gets those of the others. If a rank was told to stop, the run stops everywhere. */
int sharing_numbers(struct trainer *t, double *all, int64_t count, struct fail *why) MUST_USE;
/* True if the run stops: if all ranks have agreed to, or if the only rank was asked to. */
bool sharing_stops(struct trainer *t);
/* Returns how many bytes all ranks send in sharing_numbers. */
uint64_t sharing_bytes(int64_t ranks, int64_t count);

/* On rank 0, before it writes a state: the others begin to give their moments. */
int sharing_ask_for_state(struct trainer *t, struct fail *why) MUST_USE;
/* Called by all ranks after work that rank 0 does alone. The others give their moments as often as
 * rank 0 asks, until it calls this too, and then have its state. */
int sharing_meet(struct trainer *t, struct fail *why) MUST_USE;

#endif
