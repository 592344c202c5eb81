/* checkpoint.h - the state that a run needs to go on bit for bit: one stream of kind
 * "state" in checkpoint-N/ beside the adapter or model.
 *
 * A checkpoint is made under a temporary name, synced, renamed: it is whole or
 * absent. Random numbers and the order of samples are functions of seed and step, so
 * that nothing else has to be kept.
 */
#ifndef LONGQLORA_CHECKPOINT_H
#define LONGQLORA_CHECKPOINT_H

#include "model.h"

struct run_state {
    int64_t step;    /* updates done */
    uint64_t tokens; /* targets trained on so far */
    double loss_sum; /* since the last log line */
    int64_t loss_steps;
    /* A run goes on only with the same ones of these. */
    char recipe[STREAM_DIGEST_TEXT], data[STREAM_DIGEST_TEXT], base[STREAM_DIGEST_TEXT];
};

int checkpoint_save_state(const char *path, const struct model *m, const struct run_state *state,
                          struct fail *why) MUST_USE;
/* Reads only what stands in the header; checks that the stream is whole. */
int checkpoint_peek(const char *path, struct run_state *state, struct fail *why) MUST_USE;
int checkpoint_load_state(const char *path, struct model *m, struct run_state *state,
                          struct fail *why) MUST_USE;

/* Number of the newest checkpoint-N in the directory that is below `below`; -1 if there is
 * none. */
int64_t checkpoint_newest(const char *directory, int64_t below);

/* Removes all but the newest `keep`, and what was left unfinished. */
int checkpoint_prune(const char *directory, int64_t keep, struct fail *why) MUST_USE;

/* Removes a flat directory and its files. */
int checkpoint_remove(const char *directory, struct fail *why) MUST_USE;

#endif
