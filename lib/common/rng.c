#include "lib/common/rng.h"

#include "lib/common/compiler.h"
#include "lib/common/fail.h"
#include "lib/common/philox.h"

#include <math.h>
#include <xxhash.h>

uint64_t rng_bits(uint64_t key, uint64_t high, uint64_t low)
{
    struct philox p = philox(key, low, high);
    return (uint64_t)p.word[1] << 32 | p.word[0];
}

float rng_uniform(uint64_t key, uint64_t stream, uint64_t i)
{
    return (float)(rng_bits(key, stream, i) >> 40) * 0x1p-24f;
}

float rng_normal(uint64_t key, uint64_t stream, uint64_t i)
{
    struct philox p = philox(key, i, stream);
    double u = (p.word[0] + 1.0) * 0x1p-32, angle = 2 * M_PI * p.word[1] * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(angle));
}

uint64_t rng_key(uint64_t seed, const char *purpose)
{
    return XXH3_64bits_withSeed(purpose, strlen(purpose), seed);
}

struct rng_draw {
    uint64_t bits, number;
};

static int by_bits(const void *a, const void *b)
{
    const struct rng_draw *x = a, *y = b;
    if (x->bits != y->bits) return x->bits < y->bits ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

int rng_permutation(uint64_t key, uint64_t *order, size_t n)
{
    struct rng_draw *draws = malloc((n ? n : 1) * sizeof *draws);
    if (!draws) return -1;
    for (size_t i = 0; i < n; i++)
        draws[i] = (struct rng_draw){ rng_bits(key, 0, i), i };
    qsort(draws, n, sizeof *draws, by_bits);
    for (size_t i = 0; i < n; i++)
        order[i] = draws[i].number;
    free(draws);
    return 0;
}
