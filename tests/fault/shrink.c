/* shrink.so - loaded with LD_PRELOAD, it shortens a file while the program reads it, as if somebody
 * overwrote the file.
 *
 * SHRINK       the end of the file's path
 * SHRINK_TO    the new size in bytes
 * SHRINK_WHEN  the file is shortened after the program has written this text to standard error;
 *              if unset, when the file is mapped or read for the first time
 * SHRINK_AT    N: it is shortened the Nth time that this happens, instead of the first
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void shrink(void)
{
    static int is_done, times;
    const char *at = getenv("SHRINK_AT");
    if (at && ++times < strtol(at, NULL, 10)) return;
    const char *to = getenv("SHRINK_TO");
    if (!is_done && to && truncate(getenv("SHRINK"), strtol(to, NULL, 10))) perror("shrink.so");
    is_done = 1;
}

static int is_ours(int fd)
{
    const char *end = getenv("SHRINK");
    if (fd < 0 || !end || getenv("SHRINK_WHEN")) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path), wanted = (ssize_t)strlen(end);
    return length >= wanted && !memcmp(path + length - wanted, end, (size_t)wanted);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "mmap");
    void *map = real(at, bytes, protection, flags, fd, offset);
    if (is_ours(fd)) shrink();
    return map;
}

ssize_t read(int fd, void *data, size_t bytes)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "read");
    ssize_t got = real(fd, data, bytes);
    if (is_ours(fd)) shrink();
    return got;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "write");
    const char *when = getenv("SHRINK_WHEN");
    ssize_t written = real(fd, data, bytes);
    if (fd == 2 && when && memmem(data, bytes, when, strlen(when))) shrink();
    return written;
}
