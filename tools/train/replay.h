/* replay.h - computes the steps of another run again, from one of its checkpoints, or from the
 * beginning, to a later one.
 */
#ifndef LONGQLORA_TRAIN_REPLAY_H
#define LONGQLORA_TRAIN_REPLAY_H

#include "tools/train/trainer.h"

/* Where and with which inputs to replay. */
struct replay_place {
    const char *run;    /* the folder of the run */
    const char *device; /* as --device; "auto": the device of the run */
    json_t *paths;      /* keys of inputs whose paths have changed, and the paths now */
    int threads;
    struct ranks *ranks;
    int64_t sample_ranks;
};

/* Which steps to replay. All ranks get the same goal. */
struct replay_goal {
    char from[4096]; /* the checkpoint with which it begins; "": none */
    bool goes_on; /* begin with what the last goal ended with; otherwise with `from`, or at step 0
                   * if `from` is "" */
    bool is_before_run; /* this process of the run began with `from`, or with what `from` was */
    int64_t step;       /* the step after which it ends */
    /* What the state of that step has: updates since the last log line, and the last evaluation. A
     * signal may have ended the run before it logged or evaluated. */
    int64_t loss_steps, evaluated;
    bool is_result;      /* it ends with a result and not with a checkpoint */
    int64_t result_step; /* the last step of a result, whose model may be that of an earlier one */
};

struct replay {
    struct recipe recipe;
    struct adapter adapter;
    struct trainer trainer;
    json_t *run; /* the line of the run; borrowed */
    bool is_open;
    bool is_fresh; /* the model has its initial values */
};

/* Makes the recipe of the run's line, with the paths of the operands. The caller calls
 * recipe_release. */
int replay_recipe(struct recipe *r, const json_t *run, const struct replay_place *place,
                  struct fail *why) MUST_USE;
/* Writes the name of the device for a run's line: that of --device, or else the run's. */
void replay_device(const json_t *run, const struct replay_place *place, char device[32]);
/* Opens everything for the steps of a run's line. All ranks call it. `run` must stay until
 * replay_close. */
int replay_open(struct replay *r, json_t *run, const struct replay_place *place,
                struct fail *why) MUST_USE;
/* Computes the steps. All ranks call it. */
int replay_go(struct replay *r, const struct replay_goal *goal, struct fail *why) MUST_USE;
/* Called by all ranks after replay_go. Rank 0 writes the checkpoint or the result into the folder,
 * with the first `lines` lines of the chain in front of its own. */
int replay_write(struct replay *r, const struct replay_goal *goal, const struct chain *chain,
                 size_t lines, const char *folder, struct fail *why) MUST_USE;
void replay_close(struct replay *r);

#endif
