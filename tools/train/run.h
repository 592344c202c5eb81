/* run.h - runs a training from its first step to its result: steps, log lines, evaluations,
 * checkpoints, signals.
 */
#ifndef LONGQLORA_TRAIN_RUN_H
#define LONGQLORA_TRAIN_RUN_H

#include "tools/train/trainer.h"

/* Dies if something fails, or of a signal, after it has saved what is done. */
void run(struct trainer *t);

#endif
