#include "lib/common/control_group.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4400 };

int control_group_numbers(const char *directory, const char *name, const char *key, int64_t *n,
                          int count)
{
    char path[PATH_BYTES + 64], line[256];
    int found = 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        for (char *at = line + strlen(key), *end; found < count; at = end) {
            errno = 0;
            long long value = strtoll(at, &end, 10);
            if (end == at || errno) break;
            n[found++] = value;
        }
        break;
    }
    if (file) fclose(file);
    return found;
}

/* Is `word` one of the comma-separated words of `list`? */
static bool is_listed(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (;; list++) {
        size_t n = strcspn(list, ",");
        if (n == length && !memcmp(list, word, n)) return true;
        list += n;
        if (!*list) return false;
    }
}

struct walk {
    const char *root, *group;
    void (*visit)(void *arg, const char *directory, bool is_version_2);
    void *arg;
    bool is_version_2;
};

/* Visits the group's directory below the mount point, and every directory above it, up to the mount
 * point. */
static void walk_up(const struct walk *w, const char *mount)
{
    char directory[PATH_BYTES];
    int above = snprintf(directory, sizeof directory, "%s%s", w->root, mount);
    int length = snprintf(directory + above, sizeof directory - (size_t)above, "%s", w->group);
    if (length >= (int)sizeof directory - above) return;
    for (;;) {
        w->visit(w->arg, directory, w->is_version_2);
        char *end = strrchr(directory + above, '/');
        if (!end) return;
        *end = 0;
    }
}

/* Handles a line of /proc/self/cgroup: ID:CONTROLLERS:PATH. Version 2 leaves CONTROLLERS empty. */
static void visit_line(struct walk *w, const char *controller, char *line)
{
    char mount[512];
    char *controllers = strchr(line, ':'),
         *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return;
    *controllers++ = *group++ = 0;
    group[strcspn(group, "\n")] = 0;
    w->group = group;
    w->is_version_2 = !*controllers;
    if (w->is_version_2) {
        walk_up(w, "/sys/fs/cgroup");
    } else if (is_listed(controllers, controller)) {
        snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controllers);
        walk_up(w, mount);
        snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
        if (strcmp(controllers, controller) != 0) walk_up(w, mount);
    }
}

void control_groups(const char *root, const char *controller,
                    void (*visit)(void *arg, const char *directory, bool is_version_2), void *arg)
{
    char path[PATH_BYTES], line[4200];
    struct walk w = { .root = root, .visit = visit, .arg = arg };
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        visit_line(&w, controller, line);
    if (file) fclose(file);
}
