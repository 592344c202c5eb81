#include "tools/train/growing.h"

#include "lib/common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

FILE *growing_open(const char *path, bool is_new)
{
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | (is_new ? O_EXCL : 0), 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "a+");
    if (fd >= 0 && !file) close(fd);
    return file;
}

static bool is_there(FILE *file, int dir, const char *name)
{
    struct stat own, named;
    return !fstat(fileno(file), &own) && !fstatat(dir, name, &named, 0) &&
           own.st_dev == named.st_dev && own.st_ino == named.st_ino;
}

static int copy(int from, int to)
{
    char part[16384];
    ssize_t n;
    for (off_t at = 0; (n = pread(from, part, sizeof part, at)) > 0; at += n)
        if (write(to, part, (size_t)n) != n) return -1;
    return n < 0 ? -1 : 0;
}

/* Creates a file under the first free name. */
static int create(int dir, const char *wanted, char name[GROWING_NAME])
{
    enum { NAMES = 1000 };
    const char *dot = strrchr(wanted, '.');
    int stem = dot ? (int)(dot - wanted) : (int)strlen(wanted), fd = -1;
    snprintf(name, GROWING_NAME, "%s", wanted);
    for (int i = 2; i <= NAMES + 1 && fd < 0; i++) {
        fd = openat(dir, name, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) return -1;
        if (fd < 0) snprintf(name, GROWING_NAME, "%.*s-%d%s", stem, wanted, i, wanted + stem);
    }
    return fd;
}

/* True if the name is free, but has not been so for long. */
static bool is_just_missing(int dir, const char *name, double *missing)
{
    if (!faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) || errno != ENOENT) return false;
    if (!*missing) *missing = clock_seconds();
    return clock_seconds() - *missing < GROWING_WAIT;
}

int growing_keep(FILE **file, int dir, const char *wanted, char name[GROWING_NAME], bool is_last,
                 double *missing, struct fail *why)
{
    if (is_there(*file, dir, name)) return 0;
    if (!is_last && is_just_missing(dir, name, missing)) return 0;
    *missing = 0;
    char again[GROWING_NAME];
    int fd = create(dir, wanted, again);
    if (fd < 0 && errno == ENOENT) return 0; /* the folder was removed */
    FILE *made = fd < 0 || copy(fileno(*file), fd) ? NULL : fdopen(fd, "a+");
    if (!made) {
        fail(why, "%s: cannot write: %s", fd < 0 ? wanted : again, strerror(errno));
        if (fd >= 0) unlinkat(dir, again, 0);
        if (fd >= 0) close(fd);
        return -1;
    }
    fclose(*file);
    *file = made;
    memcpy(name, again, sizeof again);
    return 1;
}
