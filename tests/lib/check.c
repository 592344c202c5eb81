#include "tests/lib/check.h"

#include "lib/common/philox.h"

#include <math.h>

enum { GUARD = 16, BUFFERS = 4096 };
static const float guard_value = -12345.678f;

static struct {
    float *at;
    size_t count, bytes;
} buffers[BUFFERS];
static int buffer_count;
static double *doubles[BUFFERS];
static int double_count;
static uint64_t drawn;

const char *check_device(void)
{
    const char *name = getenv("BACKEND");
    return name ? name : "cpu";
}

uint64_t check_seed(void)
{
    static uint64_t seed;
    static bool is_set;
    if (is_set) return seed;
    const char *text = getenv("SEED");
    seed = text ? strtoull(text, NULL, 10) : 20261123;
    is_set = true;
    printf("# SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

double check_random(void)
{
    struct philox p = philox(check_seed(), drawn++, 0);
    return p.word[0] * 0x1p-31 - 1;
}

int64_t check_below(int64_t n)
{
    struct philox p = philox(check_seed(), drawn++, 1);
    return (int64_t)(((uint64_t)p.word[0] * (uint64_t)n) >> 32);
}

void *(*check_memory)(size_t bytes);
void (*check_release)(void *mem, size_t bytes);

float *check_buffer(size_t count)
{
    size_t bytes = (count + 2 * GUARD + 16) / 16 * 64;
    float *at = check_memory ? check_memory(bytes) : aligned_alloc(64, bytes);
    assert_non_null(at);
    assert_true(buffer_count < BUFFERS);
    for (size_t i = 0; i < count + 2 * GUARD; i++)
        at[i] = guard_value;
    memset(at + GUARD, 0, count * sizeof *at);
    buffers[buffer_count].at = at;
    buffers[buffer_count].bytes = bytes;
    buffers[buffer_count++].count = count;
    return at + GUARD;
}

float *check_random_buffer(size_t count)
{
    float *x = check_buffer(count);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)check_random();
    return x;
}

void check_guards(const float *buffer)
{
    for (int i = 0; i < buffer_count; i++) {
        if (buffers[i].at + GUARD != buffer) continue;
        for (int g = 0; g < GUARD; g++) {
            assert_true(buffers[i].at[g] == guard_value);
            assert_true(buffers[i].at[GUARD + (int)buffers[i].count + g] == guard_value);
        }
    }
}

void check_free_all(void)
{
    for (int i = 0; i < buffer_count; i++) {
        check_guards(buffers[i].at + GUARD);
        if (check_release)
            check_release(buffers[i].at, buffers[i].bytes);
        else
            free(buffers[i].at);
    }
    for (int i = 0; i < double_count; i++)
        free(doubles[i]);
    buffer_count = double_count = 0;
}

/* Returns the bound for f32, or a wider one for bf16 products. The rounding step of bf16 is 2^16
 * times that of f32; a quarter of it suffices, because everything else stays f32. */
static double widened(double bound)
{
    return strcmp(check_device(), "cpu-bf16") != 0 ? bound : 0x1p14 * bound;
}

void check_close(const char *what, const float *got, const double *exact, size_t count,
                 double bound)
{
    bound = widened(bound);
    double largest = 1e-30, worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < count; i++)
        if (fabs(exact[i]) > largest) largest = fabs(exact[i]);
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - exact[i]);
        if (error <= worst) continue;
        worst = isfinite(error) ? error : INFINITY;
        at = i;
    }
    if (worst <= bound * largest) return;
    printf("# %s: element %zu of %zu is %.9g, exactly %.9g; %.3g of the largest, %.3g allowed\n",
           what, at, count, (double)got[at], exact[at], worst / largest, bound);
    fail();
}

void check_gradient(double (*loss)(void *, const double *), void *arg, const double *x,
                    size_t count, double *gradient)
{
    static const double step = 1e-4;
    double *moved = check_doubles(NULL, count);
    memcpy(moved, x, count * sizeof *moved);
    for (size_t i = 0; i < count; i++) {
        /* Central differences of fourth order: the error is proportional to step⁴. */
        double value[4];
        static const int steps[4] = { -2, -1, 1, 2 };
        for (int s = 0; s < 4; s++) {
            moved[i] = x[i] + steps[s] * step;
            value[s] = loss(arg, moved);
        }
        moved[i] = x[i];
        gradient[i] = (value[0] - 8 * value[1] + 8 * value[2] - value[3]) / (12 * step);
    }
}

void check_linear_gradient(double (*loss)(void *, const double *), void *arg, const double *x,
                           size_t count, double *gradient)
{
    double *moved = check_doubles(NULL, count), here = loss(arg, x);
    memcpy(moved, x, count * sizeof *moved);
    for (size_t i = 0; i < count; i++) {
        moved[i] = x[i] + 1;
        gradient[i] = loss(arg, moved) - here;
        moved[i] = x[i];
    }
}

double *check_doubles(const float *from, size_t count)
{
    double *to = calloc(count + 1, sizeof *to);
    assert_non_null(to);
    assert_true(double_count < BUFFERS);
    doubles[double_count++] = to;
    for (size_t i = 0; from && i < count; i++)
        to[i] = (double)from[i];
    return to;
}
