/* turns.h - shares the batches of a context out over the ranks, in turns.
 *
 * Batch i is computed by rank i mod N. If several ranks share a batch (setup.sample_parts of
 * model.h), N is the number of such groups, and all ranks of a group compute its batches together.
 * After a turn of some batches each, every rank gets the losses that the others have computed, and
 * adds up all of them in the order of the batches, as one process does. So every rank has the same
 * sums, to the last bit, and they do not depend on N.
 */
#ifndef LONGQLORA_PPL_TURNS_H
#define LONGQLORA_PPL_TURNS_H

#include "lib/ranks/ranks.h"

struct turns {
    struct ranks *ranks;
    int64_t group;  /* how many neighbouring ranks compute a batch together */
    double timeout; /* the value of --rank-timeout */
    double pace;    /* seconds per unit of cost (cost_of); 0: this rank has computed nothing */
};

/* The batches of a context. `unit` is what a batch is called. */
struct turns_work {
    const char *unit;
    int64_t context, count;
    void *arg;
    /* Returns how many numbers compute writes for batch i. */
    int64_t (*values)(const void *arg, int64_t i);
    int (*compute)(void *arg, int64_t i, float *values, struct fail *why);
    void (*add)(void *arg, int64_t i, const float *values);
};

/* Calls compute for this rank's batches, and add for all batches, in their order. All ranks call it
 * with the same work. */
int turns_run(struct turns *t, const struct turns_work *w, struct fail *why) MUST_USE;

#endif
