/* checkpoint_number.h - the checkpoints of a run by their names: checkpoint-N. */
#ifndef LONGQLORA_CHECKPOINT_NUMBER_H
#define LONGQLORA_CHECKPOINT_NUMBER_H

#include <stdint.h>

/* The number in "checkpoint-N"; -1 for other names. */
int64_t checkpoint_number(const char *name);
/* Number of the newest checkpoint-N in the directory that is below `below`; -1 if there is
 * none. */
int64_t checkpoint_newest(const char *directory, int64_t below);

#endif
