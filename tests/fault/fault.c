/* fault.so - loaded with LD_PRELOAD, it makes a call fail, sends a signal at a call, or changes
 * what a call does.
 *
 * FAULT_OF     write (to a file), fsync, rename, malloc: this call fails
 *              flush: flushing a stdio file fails
 *              close: closing a stdio file to which lines are appended fails
 *              kill, term: SIGKILL, or SIGTERM twice, comes at a write, fsync or rename
 *              flock: locks fail from the beginning
 *              exchange: exchanging two names fails, and SIGTERM comes after the old folder was
 *              renamed
 *              fold: names that are opened in an open folder are changed to small letters, as on
 *              a file system that ignores case
 *              message: SIGTERM comes when gradients or values are sent to another rank
 *              hosts: the message with this rank's host name fails; ending all ranks makes
 *              FAULT_MARK
 *              version: oneDNN says that its version is 9.9.9
 * FAULT_AT     the number of the call or message at which the fault happens, from 1 on
 * FAULT_BEGIN  calls are counted once a directory whose path ends with this text has been made;
 *              messages are counted from the start
 * FAULT_TRACE  if set, the call stack of the fault is printed
 * FAULT_MARK   a file that is created when the fault happens; every later message adds a byte
 */
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

static atomic_int counting;
static atomic_long calls;

static int is_named(const char *kind)
{
    const char *of = getenv("FAULT_OF");
    bool is_any = of && (!strcmp(of, "kill") || !strcmp(of, "term"));
    bool is_call =
        strcmp(kind, "malloc") != 0 && strcmp(kind, "flush") != 0 && strcmp(kind, "close") != 0;
    return of && (!strcmp(of, kind) || (is_any && is_call));
}

static void mark(const char *bytes, size_t count)
{
    int fd = open(getenv("FAULT_MARK"), O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0) return;
    if (syscall(SYS_write, fd, bytes, count) < 0) perror("fault.so");
    close(fd);
}

/* Returns 1 if this call must fail. Sends the signals of kill and term. */
static int strikes(const char *kind)
{
    if (!atomic_load(&counting) || !is_named(kind)) return 0;
    if (atomic_fetch_add(&calls, 1) + 1 != atol(getenv("FAULT_AT"))) return 0;
    mark("", 0);
    if (getenv("FAULT_TRACE")) {
        void *frames[32];
        atomic_store(&counting, 0);
        backtrace_symbols_fd(frames, backtrace(frames, 32), 2);
    }
    if (!strcmp(getenv("FAULT_OF"), "kill")) raise(SIGKILL);
    if (strcmp(getenv("FAULT_OF"), "term") != 0) return 1;
    raise(SIGTERM);
    raise(SIGTERM);
    return 0;
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static bool is_exchange(void)
{
    const char *of = getenv("FAULT_OF");
    return of && !strcmp(of, "exchange");
}

int mkdir(const char *path, mode_t mode)
{
    const char *begin = getenv("FAULT_BEGIN");
    size_t length = strlen(path), tail = begin ? strlen(begin) : 0;
    int status = NEXT(int (*)(const char *, mode_t), "mkdir")(path, mode);
    if (tail && length >= tail && !strcmp(path + length - tail, begin)) atomic_store(&counting, 1);
    return status;
}

/* MPI has pipes of its own, which must not fail. */
static int is_file(int fd)
{
    struct stat st;
    return !fstat(fd, &st) && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    if (fd > 2 && is_file(fd) && strikes("write")) {
        errno = ENOSPC;
        return -1;
    }
    return NEXT(ssize_t(*)(int, const void *, size_t), "write")(fd, data, bytes);
}

int fsync(int fd)
{
    if (strikes("fsync")) {
        errno = EIO;
        return -1;
    }
    return NEXT(int (*)(int), "fsync")(fd);
}

int rename(const char *from, const char *to)
{
    if (strikes("rename")) {
        errno = EIO;
        return -1;
    }
    int status = NEXT(int (*)(const char *, const char *), "rename")(from, to);
    if (!status && is_exchange() && strstr(to, ".old.")) raise(SIGTERM);
    return status;
}

long syscall(long number, ...)
{
    long of[6];
    va_list list;
    if (number == SYS_renameat2 && is_exchange()) {
        errno = EINVAL;
        return -1;
    }
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        of[i] = va_arg(list, long);
    va_end(list);
    return NEXT(long (*)(long, ...), "syscall")(number, of[0], of[1], of[2], of[3], of[4], of[5]);
}

int fflush(FILE *file)
{
    if (file && fileno(file) > 2 && strikes("flush")) {
        errno = ENOSPC;
        return EOF;
    }
    return NEXT(int (*)(FILE *), "fflush")(file);
}

int fclose(FILE *file)
{
    int flags = fcntl(fileno(file), F_GETFL);
    bool fails = flags >= 0 && flags & O_APPEND && strikes("close");
    int status = NEXT(int (*)(FILE *), "fclose")(file);
    if (fails) errno = EIO;
    return fails ? EOF : status;
}

int flock(int fd, int operation)
{
    const char *of = getenv("FAULT_OF");
    if (of && !strcmp(of, "flock")) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return NEXT(int (*)(int, int), "flock")(fd, operation);
}

void *malloc(size_t bytes) { return strikes("malloc") ? NULL : __libc_malloc(bytes); }
void *calloc(size_t count, size_t bytes)
{
    return strikes("malloc") ? NULL : __libc_calloc(count, bytes);
}
void *realloc(void *old, size_t bytes)
{
    return strikes("malloc") ? NULL : __libc_realloc(old, bytes);
}

/* Returns the name, in small letters if names are folded. */
static const char *folded(const char *name, char to[4096])
{
    const char *of = getenv("FAULT_OF");
    size_t length = strlen(name);
    if (!of || strcmp(of, "fold") != 0 || length >= 4096) return name;
    for (size_t i = 0; i <= length; i++)
        to[i] = (char)tolower((unsigned char)name[i]);
    return to;
}

int openat(int folder, const char *name, int flags, ...)
{
    char small[4096];
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return NEXT(int (*)(int, const char *, int, ...), "openat")(folder, folded(name, small), flags,
                                                                mode);
}

int fstatat(int folder, const char *restrict name, struct stat *restrict st, int flags)
{
    char small[4096];
    return NEXT(int (*)(int, const char *, struct stat *, int),
                "fstatat")(folder, folded(name, small), st, flags);
}

/* ---- libraries ---- */

typedef int send_function(const void *data, int count, void *type, int to, int tag, void *ranks,
                          void *request);

/* A rank's plug-in loads MPI for itself alone, so the next function of this name is not found in
 * the usual way. Tags 0 and 1 are those of gradients and values. */
int MPI_Isend(const void *data, int count, void *type, int to, int tag, void *ranks, void *request)
{
    static send_function *next;
    const char *of = getenv("FAULT_OF");
    if (!next)
        next =
            (send_function *)dlsym(dlopen("libmpi.so.40", RTLD_LAZY | RTLD_NOLOAD), "PMPI_Isend");
    if (of && !strcmp(of, "message") && tag < 2) {
        long number = atomic_fetch_add(&calls, 1) + 1, at = atol(getenv("FAULT_AT"));
        if (number == at) raise(SIGTERM);
        if (number >= at) mark(".", number > at);
    }
    if (of && !strcmp(of, "hosts") && tag == 2) return 1; /* an error of MPI */
    return next(data, count, type, to, tag, ranks, request);
}

int MPI_Abort(void *ranks, int status)
{
    int (*next)(void *, int) =
        (int (*)(void *, int))dlsym(dlopen("libmpi.so.40", RTLD_LAZY | RTLD_NOLOAD), "PMPI_Abort");
    const char *of = getenv("FAULT_OF");
    if (of && !strcmp(of, "hosts")) mark(".", 1);
    return next(ranks, status);
}

/* The structure begins as dnnl_version_t does. */
const void *dnnl_version(void)
{
    static const struct {
        int major, minor, patch;
        const char *hash;
        unsigned runtimes[2];
    } other = { 9, 9, 9, "", { 0, 0 } };
    const char *of = getenv("FAULT_OF");
    if (of && !strcmp(of, "version")) return &other;
    return NEXT(const void *(*)(void), "dnnl_version")();
}
