/* bandwidth THREADS - measures how many GB/s the threads read from memory outside the caches. The
 * result is the best of five passes over 1 GiB, of which each thread reads its own part. */
#include "lib/cli/die.h"
#include "lib/common/clock.h"
#include "lib/common/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 64 };
static const size_t bytes = (size_t)1 << 30;

typedef uint64_t wide __attribute__((vector_size(64), aligned(8)));

static char *memory;
static uint64_t sums[PARTS];

static void read_part(void *arg, int64_t part, int worker)
{
    (void)arg, (void)worker;
    const wide *at = (const void *)(memory + (size_t)part * (bytes / PARTS));
    wide sum[4] = { 0 };
    for (size_t i = 0; i < bytes / PARTS / sizeof *at; i += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += at[i + (size_t)k];
    for (int lane = 0; lane < 8; lane++)
        for (int k = 0; k < 4; k++)
            sums[part] += sum[k][lane];
}

int main(int argc, char **argv)
{
    struct fail why;
    struct pool *pool;
    double best = 1e9;
    die_init("bandwidth", false);
    or_die(pool_open(&pool, argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0, &why), &why);
    memory = malloc(bytes);
    if (!memory) die(STATUS_FAILED, "out of memory");
    memset(memory, 1, bytes);
    for (int pass = 0; pass < 5; pass++) {
        double start = clock_seconds();
        pool_run(pool, PARTS, read_part, NULL);
        double seconds = clock_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    uint64_t total = 0;
    for (int i = 0; i < PARTS; i++)
        total += sums[i];
    if (!total) return 1;
    printf("%.2f\n", (double)bytes / best / 1e9);
    free(memory);
    pool_close(pool);
    return 0;
}
