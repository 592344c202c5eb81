#include "lib/common/free_memory.h"

#include "lib/common/control_group.h"

#include <stdio.h>

/* The names of the files, and of the lines of memory.stat, for each version of control groups. */
static const struct names {
    const char *limit, *used, *caches[2];
} versions[2] = {
    { "memory.limit_in_bytes",
      "memory.usage_in_bytes",
      { "total_inactive_file ", "total_active_file " } },
    { "memory.max", "memory.current", { "inactive_file ", "active_file " } },
};

/* If the group has a limit, lowers the result to the memory that is left below the limit. */
static void apply_group_limit(void *arg, const char *directory, bool is_version_2)
{
    const struct names *names = &versions[is_version_2];
    uint64_t *result = arg, left;
    int64_t limit, used, bytes;
    if (!control_group_numbers(directory, names->limit, "", &limit, 1) ||
        !control_group_numbers(directory, names->used, "", &used, 1))
        return;
    for (int i = 0; i < 2; i++)
        if (control_group_numbers(directory, "memory.stat", names->caches[i], &bytes, 1))
            used -= bytes < used ? bytes : used;
    left = used < limit ? (uint64_t)(limit - used) : 0;
    if (left < *result) *result = left;
}

uint64_t free_memory(const char *root)
{
    char directory[4200];
    int64_t kib;
    snprintf(directory, sizeof directory, "%s/proc", root);
    if (!control_group_numbers(directory, "meminfo", "MemAvailable:", &kib, 1)) return 0;
    uint64_t bytes = (uint64_t)kib << 10;
    control_groups(root, "memory", apply_group_limit, &bytes);
    return bytes ? bytes : 1; /* 0 would mean that it is unknown */
}
