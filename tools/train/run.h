/* run.h - runs a training from its first step to its result: steps, log lines, evaluations,
 * checkpoints, signals.
 */
#ifndef LONGQLORA_TRAIN_RUN_H
#define LONGQLORA_TRAIN_RUN_H

#include "tools/train/trainer.h"

/* Dies if something fails, or of a signal. Before that it saves the finished steps. */
void run(struct trainer *t);

#endif
