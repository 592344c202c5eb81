/* control_group.h - reads the limits that a container or a batch job sets with Linux control
 * groups, versions 1 and 2.
 *
 * Source: the kernel's documentation, admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
 */
#ifndef LONGQLORA_CONTROL_GROUP_H
#define LONGQLORA_CONTROL_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Calls visit(arg, directory, is_version_2) for each control group that limits this process through
 * `controller` ("memory" or "cpu"): the process's own group, and every group above it. A directory
 * may be missing, because a container sees its own group as the root. `root` is put before /proc
 * and /sys; it is "" except in tests. */
void control_groups(const char *root, const char *controller,
                    void (*visit)(void *arg, const char *directory, bool is_version_2), void *arg);

/* Reads the file `name` in `directory`, finds the first line that begins with `key`, and stores the
 * numbers that follow `key` there in n[0..count). Returns how many it stored. */
int control_group_numbers(const char *directory, const char *name, const char *key, int64_t *n,
                          int count);

#endif
