#include "lib/common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names what a file is if it is not regular; NULL if it is. */
static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return NULL;
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

static int refuse(const char *path, const char *kind, struct fail *why)
{
    return fail(why, "%s: %s, where a file is needed", path, kind);
}

/* Is it a Git LFS pointer? A clone made without Git LFS has them in place of large files. */
static bool is_pointer(int fd)
{
    static const char mark[] = "version https://git-lfs.github.com/spec/";
    char head[sizeof mark - 1];
    return pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
           !memcmp(head, mark, sizeof head);
}

int file_open(const char *path, uint64_t *bytes, struct fail *why)
{
    struct stat st;
    if (stat(path, &st)) return fail(why, "%s: %s", path, strerror(errno));
    if (kind_of(st.st_mode)) return refuse(path, kind_of(st.st_mode), why);
    /* O_NONBLOCK, because the file may have been replaced by a pipe since it was checked. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st)) {
        fail(why, "%s: %s", path, strerror(errno));
    } else if (kind_of(st.st_mode)) {
        refuse(path, kind_of(st.st_mode), why);
    } else if (is_pointer(fd)) {
        fail_input(why, "%s: a pointer of Git LFS in the place of the file: git lfs pull", path);
    } else {
        if (bytes) *bytes = (uint64_t)st.st_size;
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

static bool is_given_open(const char *path)
{
    static const char *const places[] = { "/dev/fd/", "/proc/self/fd/" };
    for (int i = 0; i < 2; i++)
        if (!strncmp(path, places[i], strlen(places[i]))) return true;
    return !strcmp(path, "/dev/stdin") || !strcmp(path, "/dev/null");
}

int file_open_text(const char *path, struct fail *why)
{
    return is_given_open(path) ? file_open_stream(path, why) : file_open(path, NULL, why);
}

int file_check_text(const char *path, struct fail *why)
{
    struct stat st;
    if (!strcmp(path, "-") || is_given_open(path)) return 0;
    if (stat(path, &st)) return fail(why, "%s: %s", path, strerror(errno));
    return kind_of(st.st_mode) ? refuse(path, kind_of(st.st_mode), why) : 0;
}

const char *file_shown(const char *path) { return strcmp(path, "-") ? path : "standard input"; }

int file_open_stream(const char *path, struct fail *why)
{
    struct stat st;
    bool is_input = !strcmp(path, "-");
    const char *name = file_shown(path);
    if (is_input ? fstat(STDIN_FILENO, &st) : stat(path, &st))
        return fail(why, "%s: %s", name, strerror(errno));
    /* Standard input may be a directory: process_begin opens one if descriptor 0 was closed. */
    if (!is_input && (S_ISDIR(st.st_mode) || S_ISSOCK(st.st_mode)))
        return refuse(path, kind_of(st.st_mode), why);
    int fd = is_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                      : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? fail(why, "%s: %s", name, strerror(errno)) : fd;
}

int file_is_there(const char *path, struct fail *why)
{
    struct stat st;
    if (!stat(path, &st)) return 1;
    if (errno != ENOENT || lstat(path, &st)) return 0;
    return fail(why, "%s: a link whose end is not there: fetch the file again, or remove the link",
                path);
}

int file_check_readable(const char *path, struct fail *why)
{
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int error = fd < 0 || read(fd, &byte, 1) < 0 ? errno : 0;
    if (fd >= 0) close(fd);
    if (!error || error == ENOENT || error == ENOTDIR || error == EISDIR) return 0;
    return fail(why, "%s: cannot be read: %s", path, strerror(error));
}

uint64_t file_size(int fd)
{
    struct stat st;
    return !fstat(fd, &st) && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

int file_check_end(int fd, uint64_t size, const char *name, struct fail *why)
{
    off_t at = size ? lseek(fd, 0, SEEK_CUR) : -1;
    if (at < 0 || (uint64_t)at >= size) return 0;
    return fail_input(why, "%s: changed while it was read: begin again", name);
}

static FILE *stdio_of(int fd, const char *path, struct fail *why)
{
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (fd >= 0 && !file) {
        fail(why, "%s: %s", path, strerror(errno));
        close(fd);
    }
    return file;
}

FILE *file_open_stdio(const char *path, uint64_t *bytes, struct fail *why)
{
    return stdio_of(file_open(path, bytes, why), path, why);
}

FILE *file_open_text_stdio(const char *path, struct fail *why)
{
    return stdio_of(file_open_text(path, why), path, why);
}

int file_check_folder(const char *path, struct fail *why)
{
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode) || !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
        return 0;
    return fail(why, "%s: what is in it may not be read: %s", path, strerror(errno));
}

bool file_is_dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

const char *file_next_name(DIR *dir)
{
    struct dirent *e;
    while ((e = readdir(dir)) && file_is_dots(e->d_name))
        ;
    return e ? e->d_name : NULL;
}
