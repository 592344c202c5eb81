/* verify.h - train --verify: replays the steps between the checkpoints that a run has kept, and
 * compares the bytes.
 */
#ifndef LONGQLORA_TRAIN_VERIFY_H
#define LONGQLORA_TRAIN_VERIFY_H

#include "tools/train/replay.h"

struct verify_job {
    const char *run;    /* "FOLDER" or "FOLDER:FROM-TO" */
    const char *format; /* "text" or "json" */
    /* NULL, or a recipe and values that must be those of the run. Paths replace the run's. */
    const char **operands;
    struct replay_place place; /* without `run` and `paths` */
};

/* Verifies the run and prints what it finds. All ranks call it. Returns STATUS_DONE if everything
 * was verified, on rank 0; the others return what rank 0 does. Dies if it cannot work at all. */
enum status verify_run(const struct verify_job *job);

#endif
