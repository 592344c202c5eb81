#include "lib/common/usable_cpus.h"

#include "lib/common/control_group.h"

#include <errno.h>
#include <sched.h>

/* Tries larger and larger sets, because the kernel refuses a set that is smaller than its own. */
static int cpus_of_affinity(void)
{
    enum { FIRST = 1024, LAST = 1 << 20 };
    for (int capacity = FIRST; capacity <= LAST; capacity *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)capacity);
        if (!set) return 1;
        size_t bytes = CPU_ALLOC_SIZE((size_t)capacity);
        int error = sched_getaffinity(0, bytes, set) ? errno : 0;
        int count = error ? 0 : CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (error != EINVAL) return count > 0 ? count : 1;
    }
    return 1;
}

/* Lowers the result to the group's limit, which is given as microseconds of CPU time in a period.
 * -1 or "max" means no limit. */
static void apply_group_limit(void *arg, const char *directory, bool is_version_2)
{
    int *count = arg;
    int64_t n[2];
    bool has_both = is_version_2
                        ? control_group_numbers(directory, "cpu.max", "", n, 2) == 2
                        : control_group_numbers(directory, "cpu.cfs_quota_us", "", &n[0], 1) &&
                              control_group_numbers(directory, "cpu.cfs_period_us", "", &n[1], 1);
    if (!has_both || n[0] <= 0 || n[1] <= 0) return;
    int64_t cpus = (n[0] - 1) / n[1] + 1;
    if (cpus < *count) *count = (int)cpus;
}

int usable_cpus(const char *root)
{
    int count = cpus_of_affinity();
    control_groups(root, "cpu", apply_group_limit, &count);
    return count;
}
