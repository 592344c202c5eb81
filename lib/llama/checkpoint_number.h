/* checkpoint_number.h - reads the number N in the names of a run's checkpoints, checkpoint-N. */
#ifndef LONGQLORA_CHECKPOINT_NUMBER_H
#define LONGQLORA_CHECKPOINT_NUMBER_H

#include <stdint.h>

/* The number in "checkpoint-N"; -1 for other names. */
int64_t checkpoint_number(const char *name);
/* The largest number of a checkpoint in the directory that is less than `below`; -1 if there is
 * none. */
int64_t checkpoint_newest(const char *directory, int64_t below);

#endif
