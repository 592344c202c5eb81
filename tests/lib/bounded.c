#include "tests/lib/bounded.h"

#include "tests/lib/check.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { IS_MEASURED = false };
#else
enum { IS_MEASURED = true };
#endif

bool bounded_is_measured(void) { return IS_MEASURED; }

/* Returns how many bytes of addresses this process has, or how many bytes are resident in
 * memory. */
static size_t size_of(bool is_resident)
{
    unsigned long all = 0, here = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &all, &here), 2);
    fclose(f);
    return (is_resident ? here : all) * (size_t)sysconf(_SC_PAGESIZE);
}

int bounded_more(size_t bytes)
{
    rlim_t most = size_of(false) + bytes;
    return setrlimit(RLIMIT_AS, &(struct rlimit){ most, most });
}

void bounded_work(int (*work)(void), int expected, size_t most)
{
    struct rusage used;
    int status;
    fflush(stdout);
    size_t before = size_of(true);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) _exit(work() == expected ? 0 : 99);
    assert_int_equal(wait4(child, &status, 0, &used), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    size_t peak = (size_t)used.ru_maxrss * 1024;
    if (IS_MEASURED && peak > before + most)
        fail_msg("%zu bytes at once, at most %zu", peak - before, most);
}
