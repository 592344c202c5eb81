/* control_group.h - limits that a container or a batch system's job sets (control groups, version 1
 * and 2), as the kernel tells them in files.
 */
#ifndef LONGQLORA_CONTROL_GROUP_H
#define LONGQLORA_CONTROL_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Calls visit with the directory of each group that limits the process by that controller
 * ("memory", "cpu"): its own and all above it, of either version. A directory may not be there: a
 * container sees its own group as the root. root is prepended to /proc and /sys; "" but in tests.
 */
void control_groups(const char *root, const char *controller,
                    void (*visit)(void *arg, const char *directory, bool is_version_2), void *arg);

/* The numbers, `count` at most, that follow `key` on the first line of the file that begins with
 * it; returns how many there are. */
int control_group_numbers(const char *directory, const char *name, const char *key, int64_t *n,
                          int count);

#endif
