#include "folder.h"

#include "output.h"
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char pending[4096]; /* empty: none */

/* Entries as the kernel gives them (getdents64(2)): readdir may allocate, which a signal
 * handler must not. */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static bool is_dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

static int remove_files(const char *path)
{
    _Alignas(8) char buffer[4096];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;)
        for (long at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(buffer + at);
            if (!is_dots(e->name)) unlinkat(fd, e->name, 0);
            at += e->length;
        }
    close(fd);
    return rmdir(path);
}

int folder_remove(const char *path, struct fail *why)
{
    if (remove_files(path)) return fail(why, "%s: cannot remove: %s", path, strerror(errno));
    return 0;
}

void folder_remove_pending(void)
{
    if (pending[0]) remove_files(pending);
}

static int check_replaceable(const char *path, const char *marker, struct fail *why)
{
    char file[4200];
    struct stat st;
    if (stat(path, &st)) return errno == ENOENT ? 0 : fail(why, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return fail(why, "%s: not a directory", path);
    snprintf(file, sizeof file, "%s/%s", path, marker);
    if (!access(file, F_OK)) return 0;
    if (!rmdir(path))
        return mkdir(path, st.st_mode & 07777) ? fail(why, "%s: %s", path, strerror(errno)) : 0;
    return fail(why, "%s: exists and holds other things: remove it first", path);
}

int folder_open(struct folder *f, const char *path, const char *marker, struct fail *why)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    *f = (struct folder){ 0 };
    if (!length || length >= sizeof f->path - 32) return fail(why, "%s: not a name", path);
    snprintf(f->path, sizeof f->path, "%.*s", (int)length, path);
    if (check_replaceable(f->path, marker, why)) return -1;
    temporary_name(f->temporary, sizeof f->temporary, f->path);
    temporary_sweep(f->path, remove_files);
    if (output_directory(f->temporary, why)) return -1;
    f->lock = open(f->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->lock < 0) return fail(why, "%s: %s", f->temporary, strerror(errno));
    if (temporary_lock(f->lock, f->temporary, why)) {
        close(f->lock);
        return -1;
    }
    memcpy(pending, f->temporary, sizeof pending);
    return 0;
}

static void done(struct folder *f)
{
    pending[0] = 0;
    close(f->lock);
}

/* The old directory, if there is one, comes to lie under the temporary name. */
static int exchange(const struct folder *f, bool *has_old, struct fail *why)
{
    enum { EXCHANGE = 1 << 1 }; /* RENAME_EXCHANGE */
    *has_old = !access(f->path, F_OK);
    if (!*has_old) {
        if (!rename(f->temporary, f->path)) return 0;
    } else if (!syscall(SYS_renameat2, AT_FDCWD, f->temporary, AT_FDCWD, f->path, EXCHANGE)) {
        return 0;
    } else if (errno == ENOSYS || errno == EINVAL) {
        /* A file system that cannot: for a moment neither stands there. */
        char aside[4200];
        snprintf(aside, sizeof aside, "%s.old.%ld", f->path, (long)getpid());
        if (!rename(f->path, aside) && !rename(f->temporary, f->path) &&
            !rename(aside, f->temporary))
            return 0;
    }
    return fail(why, "%s: cannot rename into place: %s", f->path, strerror(errno));
}

int folder_close(struct folder *f, struct fail *why)
{
    bool has_old = false;
    if (output_sync_directory(f->temporary, why) || exchange(f, &has_old, why)) {
        folder_abandon(f);
        return -1;
    }
    int status = has_old ? folder_remove(f->temporary, why) : 0;
    done(f);
    return status;
}

void folder_abandon(struct folder *f)
{
    if (!f->temporary[0]) return;
    remove_files(f->temporary);
    done(f);
    f->temporary[0] = 0;
}
