/* checkpoint_number.h - a run's checkpoints by the number N in their names, checkpoint-N. */
#ifndef LONGQLORA_CHECKPOINT_NUMBER_H
#define LONGQLORA_CHECKPOINT_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* The number in "checkpoint-N"; -1 for other names. */
int64_t checkpoint_number(const char *name);
/* The largest number of a checkpoint in the directory that is less than `below`; -1 if there is
 * none. */
int64_t checkpoint_newest(const char *directory, int64_t below);
enum { CHECKPOINT_NAME = 48 }; /* bytes for a name, with the terminating zero */
/* Writes the name of the newest checkpoint in the directory that has the file. Returns false if
 * none has it. */
bool checkpoint_newest_with(const char *directory, const char *file, char name[CHECKPOINT_NAME]);

#endif
