#include "free_memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first number of the line that begins with `key`. */
static bool number_after(const char *path, const char *key, uint64_t *n)
{
    char line[256];
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        char *digits = line + strlen(key), *end;
        errno = 0;
        *n = strtoull(digits, &end, 10);
        found = end != digits && !errno;
    }
    if (file) fclose(file);
    return found;
}

/* Where the kernel tells of control groups, version 1 and 2. */
struct hierarchy {
    const char *mount, *limit, *used, *inactive, *active;
};
static const struct hierarchy hierarchies[] = {
    { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
      "total_inactive_file ", "total_active_file " },
    { "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ", "active_file " },
};

/* What one group leaves; UINT64_MAX if it has no limit, or is not there. */
static uint64_t left_by(const char *root, const struct hierarchy *h, const char *group)
{
    char path[4400];
    uint64_t limit, used, cached = 0;
    snprintf(path, sizeof path, "%s%s%s/%s", root, h->mount, group, h->limit);
    if (!number_after(path, "", &limit)) return UINT64_MAX;
    snprintf(path, sizeof path, "%s%s%s/%s", root, h->mount, group, h->used);
    if (!number_after(path, "", &used)) return UINT64_MAX;
    snprintf(path, sizeof path, "%s%s%s/memory.stat", root, h->mount, group);
    const char *const caches[] = { h->inactive, h->active };
    for (int i = 0; i < 2; i++) {
        uint64_t bytes = 0;
        if (number_after(path, caches[i], &bytes)) cached += bytes;
    }
    used -= cached < used ? cached : used;
    return used < limit ? limit - used : 0;
}

/* What the groups leave that a line of /proc/self/cgroup names: ID:CONTROLLERS:PATH. */
static uint64_t left_by_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':'),
         *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return UINT64_MAX;
    *controllers++ = *group++ = 0;
    group[strcspn(group, "\n")] = 0;
    if (*controllers && strcmp(controllers, "memory") != 0) return UINT64_MAX;
    const struct hierarchy *h = &hierarchies[*controllers ? 0 : 1];
    uint64_t least = UINT64_MAX;
    for (;;) {
        uint64_t left = left_by(root, h, group);
        if (left < least) least = left;
        char *end = strrchr(group, '/');
        if (!end) return least;
        *end = 0;
    }
}

uint64_t free_memory(const char *root)
{
    char path[4200], line[4200];
    uint64_t kib, least;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (!number_after(path, "MemAvailable:", &kib)) return 0;
    least = kib << 10;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        uint64_t left = left_by_line(root, line);
        if (left < least) least = left;
    }
    if (file) fclose(file);
    return least ? least : 1;
}
