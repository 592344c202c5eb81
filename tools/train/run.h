/* run.h - runs a training from its first step to its result: steps, log lines, evaluations,
 * checkpoints, signals.
 */
#ifndef LONGQLORA_TRAIN_RUN_H
#define LONGQLORA_TRAIN_RUN_H

#include "tools/train/trainer.h"

/* Dies if something fails, or after a signal. The finished steps are saved first, where that is
 * possible. */
void run(struct trainer *t);

#endif
