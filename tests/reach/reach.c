/* Records which code of the programs each test reaches (tests/reach/run). The compiler puts a call
 * of __sanitizer_cov_trace_pc at the beginning of each basic block. The folder $REACH gets a folder
 * for each test, and in it a file for each program, with a byte for each byte of the program's
 * code. A byte is 1 if a call that returns there was made. The file is shared memory, so that
 * killed programs are recorded too. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char __executable_start[], etext[];
void __sanitizer_cov_trace_pc(void);

static uint8_t *reached;

void __sanitizer_cov_trace_pc(void)
{
    if (reached) reached[(const char *)__builtin_return_address(0) - __executable_start] = 1;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A program whose files are limited (ulimit -f) may be unable to make its map. It runs without. */
static void *open_map(const char *path, size_t size)
{
    struct sigaction ignore = { .sa_handler = SIG_IGN }, before;
    sigaction(SIGXFSZ, &ignore, &before);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    void *map = MAP_FAILED;
    struct stat status;
    if (fd >= 0 && !fstat(fd, &status) && (status.st_size || !ftruncate(fd, (off_t)size)))
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    sigaction(SIGXFSZ, &before, NULL);
    return map == MAP_FAILED ? NULL : map;
}

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("REACH"), *file = getenv("BATS_TEST_FILENAME");
    const char *name = getenv(file ? "BATS_TEST_NUMBER" : "REACH_TEST");
    char path[5000], program[4000];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (!folder || !name || length < 0) return;
    program[length] = 0;
    int end = snprintf(path, sizeof path, "%.2000s/%.250s %.250s", folder,
                       file ? last_name(file) : "program", name);
    mkdir(path, 0777);
    snprintf(path + end, sizeof path - (size_t)end, "/%.250s", last_name(program));
    reached = open_map(path, (size_t)(etext - __executable_start));
}
