#include "lib/common/file.h"

#include "lib/common/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names the kind of a file that is not regular. Returns NULL for a regular file. */
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

/* Is it a Git LFS pointer? A clone made without Git LFS has such pointers in place of large
 * files. */
static bool is_lfs_pointer(int fd)
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
    } else if (is_lfs_pointer(fd)) {
        fail_input(why, "%s: a pointer of Git LFS in place of the file: run git lfs pull", path);
    } else {
        if (bytes) *bytes = (uint64_t)st.st_size;
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

static bool is_inherited(const char *path)
{
    static const char *const places[] = { "/dev/fd/", "/proc/self/fd/" };
    for (int i = 0; i < 2; i++)
        if (!strncmp(path, places[i], strlen(places[i]))) return true;
    return !strcmp(path, "/dev/stdin") || !strcmp(path, "/dev/null");
}

int file_open_text(const char *path, struct fail *why)
{
    return is_inherited(path) ? file_open_stream(path, why) : file_open(path, NULL, why);
}

int file_check_text(const char *path, struct fail *why)
{
    struct stat st;
    if (!strcmp(path, "-") || is_inherited(path)) return 0;
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
    int error = errno;
    if (error == ENOTDIR || error == ENAMETOOLONG) return 0; /* no file can have this path */
    if (error != ENOENT)
        return fail(why, "%s: cannot be read: %s: make it readable, or remove it", path,
                    strerror(error));
    if (lstat(path, &st)) return 0;
    return fail(why,
                "%s: a link to a file that is not there: fetch the file again, or remove the link",
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

int64_t file_read_piece(int fd, void *to, size_t size, struct fail *why)
{
    ssize_t n;
    do
        n = read(fd, to, size);
    while (n < 0 && errno == EINTR);
    return n < 0 ? fail(why, "cannot read: %s", strerror(errno)) : n;
}

int64_t file_read_full(int fd, void *to, size_t size, struct fail *why)
{
    size_t got = 0;
    while (got < size) {
        int64_t n = file_read_piece(fd, (char *)to + got, size - got, why);
        if (n < 0) return -1;
        if (!n) break;
        got += (size_t)n;
    }
    return (int64_t)got;
}

enum { PIECE = 1 << 20 };

/* Reads to the end of fd into an array of *capacity bytes, which grows. The return value is that of
 * file_read. If reading fails, the message does not name the file. */
static int read_to_end(int fd, size_t limit, char **data, size_t *bytes, size_t *capacity,
                       struct fail *why)
{
    for (;;) {
        /* One byte is for the NUL. The other one shows whether more content follows. */
        if (buffer_reserve(data, capacity, *bytes, 2, why)) return -1;
        size_t size = *capacity - *bytes - 1;
        if (size > limit - *bytes) size = limit - *bytes + 1;
        if (size > PIECE) size = PIECE;
        int64_t n = file_read_piece(fd, *data + *bytes, size, why);
        if (n < 0) return -1;
        *bytes += (size_t)n;
        if (*bytes > limit) return 1;
        if (!n) return 0;
    }
}

int file_read_rest(int fd, const char *name, size_t limit, char **data, size_t *bytes,
                   struct fail *why)
{
    uint64_t size = file_size(fd);
    size_t capacity = 0;
    *data = NULL;
    *bytes = size;
    if (size > limit) {
        (void)fail_input(why, "%s: %llu bytes, at most %zu", name, (unsigned long long)size, limit);
        return 1;
    }
    *bytes = 0;
    int status = buffer_fit(data, &capacity, (size ? size : PIECE) + 2, why);
    if (!status) status = read_to_end(fd, limit, data, bytes, &capacity, why);
    if (status > 0) (void)fail_input(why, "more than %zu bytes", limit);
    if (status) (void)fail_in(why, name);
    if (!status) status = file_check_end(fd, size, name, why);
    if (!status) {
        (*data)[*bytes] = 0;
        return 0;
    }
    free(*data);
    *data = NULL;
    return status;
}

int file_read(const char *path, size_t limit, char **data, size_t *bytes, struct fail *why)
{
    *data = NULL;
    int fd = file_open(path, NULL, why);
    if (fd < 0) return -1;
    int status = file_read_rest(fd, path, limit, data, bytes, why);
    close(fd);
    return status;
}

int64_t file_read_head(const char *path, void *head, size_t size, struct fail *why)
{
    int fd = file_open(path, NULL, why);
    if (fd < 0) return -1;
    int64_t n = file_read_full(fd, head, size, why);
    close(fd);
    return n < 0 ? fail_in(why, path) : n;
}

int file_read_pieces(const char *path, file_take *take, void *arg, struct fail *why)
{
    static const size_t piece = 1 << 18;
    int fd = file_open(path, NULL, why);
    if (fd < 0) return -1;
    char *buffer = malloc(piece);
    int status = buffer ? 0 : fail(why, "%s: out of memory", path);
    int64_t n = 0;
    while (!status && (n = file_read_piece(fd, buffer, piece, why)) > 0)
        take(arg, buffer, (size_t)n);
    if (n < 0) status = fail_in(why, path);
    free(buffer);
    close(fd);
    return status;
}

int file_check_folder(const char *path, struct fail *why)
{
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode) || !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
        return 0;
    return fail(why, "%s: its files may not be read: %s", path, strerror(errno));
}

const char *file_name_in(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool file_is_folder(const char *path)
{
    struct stat st;
    return strcmp(path, "-") != 0 && !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool file_is_dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

const char *file_next_name(DIR *dir)
{
    struct dirent *e;
    while ((e = readdir(dir)) && file_is_dots(e->d_name))
        ;
    return e ? e->d_name : NULL;
}
