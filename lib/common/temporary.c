#include "temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char infix[] = ".tmp.";

void temporary_name(char *name, size_t size, const char *target)
{
    int length = snprintf(name, size, "%s%s%ld", target, infix, (long)getpid());
    must(length > 0 && (size_t)length < size);
}

static bool is_number(const char *s) { return *s && s[strspn(s, "0123456789")] == 0; }

bool temporary_is(const char *name)
{
    const char *at = NULL;
    for (const char *next = name; (next = strstr(next, infix)); next++)
        at = next;
    return at && is_number(at + sizeof infix - 1);
}

/* Still the file of that name? */
static bool is_named(int fd, const char *name)
{
    struct stat open_one, named;
    return !fstat(fd, &open_one) && !lstat(name, &named) && open_one.st_dev == named.st_dev &&
           open_one.st_ino == named.st_ino;
}

int temporary_lock(int fd, const char *name, struct fail *why)
{
    bool is_locked = !flock(fd, LOCK_EX | LOCK_NB);
    if (is_locked ? is_named(fd, name) : errno != EWOULDBLOCK) return 0;
    return fail(why, "%s: another process is writing it", name);
}

static void remove_if_lost(const char *path, int (*remove)(const char *path))
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (!flock(fd, LOCK_EX | LOCK_NB) && is_named(fd, path)) remove(path);
    close(fd);
}

void temporary_sweep(const char *target, int (*remove)(const char *path))
{
    char directory[4096], path[4096 + 256];
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    size_t length = strlen(name);
    int before = slash ? (int)(slash - target) + 1 : 0;
    if (before >= (int)sizeof directory) return;
    snprintf(directory, sizeof directory, "%.*s", before, target);
    DIR *dir = opendir(before ? directory : ".");
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        const char *tail = e->d_name + length;
        if (strncmp(e->d_name, name, length) || strncmp(tail, infix, sizeof infix - 1) ||
            !is_number(tail + sizeof infix - 1))
            continue;
        snprintf(path, sizeof path, "%s%s", directory, e->d_name);
        remove_if_lost(path, remove);
    }
    closedir(dir);
}
