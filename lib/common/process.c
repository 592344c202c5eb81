#include "lib/common/process.h"

#include "lib/common/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

/* Stack sizes: DEFAULT_STACK for threads that libraries start (the system's default), OWN_STACK for
 * our own threads, which keep no large arrays on the stack. */
enum { DEFAULT_STACK = 8 << 20, OWN_STACK = 2 << 20 };
/* MAIN_STACK: the bytes that the main thread's functions need, also in a build with sanitizers,
 * whose frames are larger. The message states the limit that would suffice, in multiples of
 * STACK_STEP. The kernel begins the stack at a random place, so the next run may use up to 8 KiB
 * more: the stated limit is larger by one step. */
enum { MAIN_STACK = 192 << 10, STACK_STEP = 16 << 10 };

/* Replaces each closed standard descriptor by one that can be neither read nor written, so that a
 * program that needs it fails with a message. Makes the open ones blocking, as shells do: another
 * program that shares the descriptor may have set O_NONBLOCK, and then reading or writing would
 * fail whenever the other end is slower. */
static void open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && flags & O_NONBLOCK) (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        if (flags < 0 && errno == EBADF && open("/", O_PATH) != fd) _exit(1);
    }
}

/* Raises the limit of the main thread's stack to the usual size, as far as that is allowed. */
static void raise_stack(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) || limit.rlim_cur >= DEFAULT_STACK) return;
    limit.rlim_cur = limit.rlim_max < DEFAULT_STACK ? limit.rlim_max : DEFAULT_STACK;
    (void)setrlimit(RLIMIT_STACK, &limit);
}

/* Returns the bytes of the main thread's stack that are in use. The kernel puts the environment and
 * the arguments at its top; the name of the executable lies above them. */
static size_t stack_in_use(void)
{
    const char *name = (const char *)getauxval(AT_EXECFN), *here = __builtin_frame_address(0);
    return name && name > here ? (size_t)(name - here) + strlen(name) : 0;
}

bool process_has_stack(size_t *limit, size_t *needed)
{
    struct rlimit stack;
    raise_stack();
    size_t min = stack_in_use() + MAIN_STACK;
    if (getrlimit(RLIMIT_STACK, &stack) || stack.rlim_cur >= min) return true;
    *limit = (size_t)stack.rlim_cur;
    *needed = (min / STACK_STEP + 2) * STACK_STEP;
    return false;
}

static void size_stacks(void)
{
    raise_stack();
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes)) return;
    if (!pthread_attr_setstacksize(&attributes, DEFAULT_STACK))
        (void)pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}

void process_begin(void)
{
    static bool has_begun;
    if (has_begun) return;
    has_begun = true;
    open_standard_descriptors();
    size_stacks();
    signals_begin();
}

struct start {
    void *(*run)(void *);
    void *arg;
    _Alignas(64) char stack[SIGNAL_STACK_BYTES];
};

static void *run_thread(void *arg)
{
    struct start *start = arg;
    stack_t none = { .ss_flags = SS_DISABLE };
    signals_use_stack(start->stack);
    void *result = start->run(start->arg);
    sigaltstack(&none, NULL);
    free(start);
    return result;
}

int process_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
    pthread_attr_t attributes;
    struct start *start = aligned_alloc(_Alignof(struct start), sizeof *start);
    if (!start) return ENOMEM;
    start->run = run;
    start->arg = arg;
    int error = pthread_attr_init(&attributes);
    if (error) {
        free(start);
        return error;
    }
    sigset_t before;
    (void)pthread_attr_setstacksize(&attributes, OWN_STACK);
    signals_block(&before);
    error = pthread_create(thread, &attributes, run_thread, start);
    signals_unblock(&before);
    pthread_attr_destroy(&attributes);
    if (error) free(start);
    return error;
}
