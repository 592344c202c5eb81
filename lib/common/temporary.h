/* temporary.h - names beside a target, for what is not yet whole, and what killed processes left
 * there.
 *
 * Who makes such a file or directory keeps it open and locked (flock(2)). One that nobody has
 * locked has lost its process, and goes when the same target is made the next time. Where a file
 * system has no locks, nothing is taken for lost.
 */
#ifndef LONGQLORA_TEMPORARY_H
#define LONGQLORA_TEMPORARY_H

#include "fail.h"

#include <stdbool.h>

/* <target>.tmp.<process>; needs 32 bytes more than the target. */
void temporary_name(char *name, size_t size, const char *target);
/* Is the last part of a path such a name? */
bool temporary_is(const char *name);
/* Locks what was just made; fails if another process has it or took it for lost. */
int temporary_lock(int fd, const char *name, struct fail *why) MUST_USE;
/* Calls remove with each lost one's path; what it cannot remove stays. */
void temporary_sweep(const char *target, int (*remove)(const char *path));

#endif
