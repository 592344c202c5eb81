/* run.h - a run from its first step to its result: steps, lines, evaluations, checkpoints, signals.
 */
#ifndef LONGQLORA_TRAIN_RUN_H
#define LONGQLORA_TRAIN_RUN_H

#include "tools/train/trainer.h"

/* Dies of what goes wrong, and of a signal, with what is saved by then. */
void run(struct trainer *t);

#endif
