#include "lib/common/target.h"

#include "lib/common/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

enum {
    LINKS_MAX = 40,
    NAME_RESERVE = 128, /* bytes that are kept free for a name that is appended to a path */
};

static int too_long(const char *name, struct fail *why)
{
    return fail_usage(
        why,
        "a name of %zu bytes is too long (255 are possible between slashes, %d in all): %.120s…",
        strlen(name), TARGET_PATH_MAX, name);
}

int target_check_length(const char *name, struct fail *why)
{
    return strlen(name) > TARGET_PATH_MAX ? too_long(name, why) : 0;
}

static bool is_of_kernel(const char *path)
{
    struct statfs fs;
    return !statfs(path, &fs) && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC);
}

void target_parent(const struct target *t, char *path, size_t size)
{
    const char *slash = strrchr(t->path, '/');
    if (!slash)
        snprintf(path, size, ".");
    else
        snprintf(path, size, "%.*s", slash > t->path ? (int)(slash - t->path) : 1, t->path);
}

const char *target_name(const struct target *t)
{
    const char *slash = strrchr(t->path, '/');
    return slash ? slash + 1 : t->path;
}

/* Is the target a link in /proc/PID/fd? Such links do not contain a path that could be opened, so
 * the target is a device, or a descriptor if PID is this process. */
static bool is_link_of_kernel(struct target *t)
{
    char parent[sizeof t->path], real[sizeof t->path], own_links[64], *end;
    target_parent(t, parent, sizeof parent);
    if (!is_of_kernel(parent) || !realpath(parent, real)) return false;
    size_t length = strlen(real);
    if (length < 3 || strcmp(real + length - 3, "/fd") != 0) return false;
    snprintf(own_links, sizeof own_links, "/proc/%ld/fd", (long)getpid());
    t->kind = TARGET_DEVICE;
    long number = strtol(target_name(t), &end, 10);
    if (!*end && !strcmp(real, own_links)) {
        t->kind = TARGET_DESCRIPTOR;
        t->descriptor = (int)number;
    }
    return true;
}

/* Replaces the path by the content of its symbolic link. */
static int follow(struct target *t, const char *name, struct fail *why)
{
    char link_text[sizeof t->path], parent[sizeof t->path];
    ssize_t n = readlink(t->path, link_text, sizeof link_text - 1);
    if (n <= 0) return fail(why, "%s: %s", name, strerror(errno));
    link_text[n] = 0;
    target_parent(t, parent, sizeof parent);
    bool is_whole = link_text[0] == '/';
    size_t length = (size_t)n + (is_whole ? 0 : strlen(parent) + 1);
    if (length >= sizeof t->path - NAME_RESERVE) return too_long(link_text, why);
    memcpy(t->path + length - (size_t)n, link_text, (size_t)n + 1);
    if (is_whole) return 0;
    memcpy(t->path, parent, strlen(parent));
    t->path[strlen(parent)] = '/';
    return 0;
}

static void classify(struct target *t)
{
    t->exists = true;
    t->kind = S_ISDIR(t->st.st_mode) ? TARGET_FOLDER : TARGET_FILE;
    if (t->kind == TARGET_FILE && (!S_ISREG(t->st.st_mode) || is_of_kernel(t->path)))
        t->kind = TARGET_DEVICE;
}

int target_find(struct target *t, const char *name, struct fail *why)
{
    *t = (struct target){ .kind = TARGET_FILE, .descriptor = -1 };
    size_t length = strlen(name);
    if (!length) return fail_usage(why, "an empty name: no file can have it");
    if (length >= sizeof t->path - NAME_RESERVE) return too_long(name, why);
    memcpy(t->path, name, length + 1);
    for (int links = 0; links < LINKS_MAX; links++) {
        for (length = strlen(t->path); length > 1 && t->path[length - 1] == '/'; length--)
            t->has_trailing_slash = true;
        t->path[length] = 0;
        if (lstat(t->path, &t->st)) {
            if (errno == ENOENT) return 0;
            if (errno == ENAMETOOLONG) return too_long(name, why);
            return fail(why, "%s: %s", name, strerror(errno));
        }
        if (S_ISSOCK(t->st.st_mode))
            return fail(why, "%s: a socket: name a file, a pipe or a device", name);
        if (!S_ISLNK(t->st.st_mode)) {
            classify(t);
            return 0;
        }
        if (is_link_of_kernel(t)) return 0;
        if (follow(t, name, why)) return -1;
    }
    return fail(why, "%s: its links lead to each other in a circle: name another, or mend them",
                name);
}

int target_check_above(const struct target *t, const char *shown, struct fail *why)
{
    char above[4096];
    struct stat st;
    target_parent(t, above, sizeof above);
    while (stat(above, &st) && errno == ENOENT && strcmp(above, "/") != 0 &&
           strcmp(above, ".") != 0) {
        char *slash = strrchr(above, '/');
        if (!slash || slash == above)
            snprintf(above, sizeof above, "%s", slash ? "/" : ".");
        else
            *slash = 0;
    }
    if (stat(above, &st) || faccessat(AT_FDCWD, above, W_OK | X_OK, AT_EACCESS))
        return fail(why, "%.200s: cannot create: %.150s: %s", shown, above, strerror(errno));
    if (S_ISDIR(st.st_mode)) return 0;
    return fail(why, "%.200s: cannot create: %.150s is no folder: name another place", shown,
                above);
}

static bool is_in_sticky(const struct target *t)
{
    char parent[4096];
    struct stat st;
    target_parent(t, parent, sizeof parent);
    uid_t own = geteuid();
    return own && !stat(parent, &st) && st.st_mode & S_ISVTX && st.st_uid != own &&
           t->st.st_uid != own;
}

static bool has_attribute(const char *path, unsigned long long attribute)
{
    struct statx sx;
    return !statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) &&
           sx.stx_attributes & attribute;
}

int target_check_replace(const struct target *t, const char *shown, struct fail *why)
{
    char parent[4096];
    target_parent(t, parent, sizeof parent);
    if (has_attribute(parent, STATX_ATTR_APPEND))
        return fail(why,
                    "%.300s: is in a folder where nothing can be renamed (chattr +a): name another",
                    shown);
    if (!t->exists) return 0;
    if (has_attribute(t->path, STATX_ATTR_APPEND))
        return fail(why, "%.300s: can only be appended to (chattr +a): name another", shown);
    if (is_in_sticky(t))
        return fail(why,
                    "%.300s: it belongs to another user, and only they may replace it in this "
                    "folder: name another",
                    shown);
    if (!has_attribute(t->path, STATX_ATTR_MOUNT_ROOT)) return 0;
    return fail(why, "%.300s: something is mounted there, so it cannot be replaced: name a %s",
                shown, t->kind == TARGET_FOLDER ? "folder in it" : "file beside it");
}

int target_check_remove(const char *path, struct fail *why)
{
    if (has_attribute(path, STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
        return fail(why, "%.200s: may not be removed (chattr +i or +a)", path);
    if (!has_attribute(path, STATX_ATTR_MOUNT_ROOT)) return 0;
    return fail(why, "%.200s: may not be removed: something is mounted there", path);
}

int target_check_empty(const char *path, struct fail *why)
{
    if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS))
        return fail(why, "%.200s: may not be removed: %s", path, strerror(errno));
    if (target_check_remove(path, why)) return -1;
    DIR *dir = opendir(path);
    int status = dir ? 0 : fail(why, "%.200s: %s", path, strerror(errno));
    for (const char *name; !status && (name = file_next_name(dir));) {
        char entry[4096 + 256];
        snprintf(entry, sizeof entry, "%.4000s/%s", path, name);
        status = target_check_remove(entry, why);
    }
    if (dir) closedir(dir);
    return status;
}
