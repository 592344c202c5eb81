/* vec.h - vectors as wide as the level's registers, and dot products of one row of weights with up
 * to four rows of x. Each weight is read once for all four rows.
 */
#ifndef LONGQLORA_VEC_H
#define LONGQLORA_VEC_H

#include "kernels/cpu/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { ROWS_AT_ONCE = 4, SUMS = 4 };

/* Prefetches memory that will be read soon. The hardware's own prefetching stops at the end of a
 * page. Without this, a loop that does some work for each byte would wait for memory at each new
 * page. */
enum { PREFETCH_AHEAD = 2048, CACHE_LINE = 64 };
static inline void prefetch(const void *at, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += CACHE_LINE)
        __builtin_prefetch((const char *)at + i);
}

/* Prefetches a line into the second-level cache. A loop that reads as fast as memory delivers needs
 * more lines under way than the first-level cache can wait for. */
static inline void prefetch_l2(const void *at) { __builtin_prefetch(at, 0, 2); }

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint64_t quads __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

/* Returns the products of the lower 32 bits of each 64-bit lane. For the operator *, GCC would
 * multiply whole 64-bit lanes, which is three times as slow. */
static inline quads product_of_halves(quads a, quads b)
{
#if defined(__AVX512F__)
    return (quads)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (quads)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (quads)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

static inline vec load_f32(const void *p, int64_t i)
{
    vec v;
    memcpy(&v, (const float *)p + i, sizeof v);
    return v;
}

static inline vec load_bf16(const void *p, int64_t i)
{
    halves h;
    memcpy(&h, (const uint16_t *)p + i, sizeof h);
    return (vec)(__builtin_convertvector(h, words) << 16);
}

static inline vec load_f16(const void *p, int64_t i)
{
    const uint16_t *at = (const uint16_t *)p + i;
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)at));
#elif defined(__AVX2__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const void *)at));
#else
    vec v = { 0 };
    for (int lane = 0; lane < LANES; lane++)
        v[lane] = f16_to_float(at[lane]);
    return v;
#endif
}

/* Returns the sum of all lanes. It adds the upper half of the vector to the lower one, and so on.
 * Adding lane after lane would take LANES − 1 additions, each of which waits for the one before. */
static inline float sum_of(vec v)
{
    typedef float four __attribute__((vector_size(16)));
    four part[LANES / 4];
    memcpy(part, &v, sizeof part);
    for (int n = LANES / 8; n; n /= 2)
        for (int i = 0; i < n; i++)
            part[i] += part[i + n];
    return (part[0][0] + part[0][2]) + (part[0][1] + part[0][3]);
}

/* y[r] = w · (row r of x), without the in % LANES elements after the last full vector. Callers pass
 * constants for `load` and `rows`, so that the loops are unrolled. */
static inline __attribute__((always_inline)) void dot_rows(float *y, const void *w,
                                                           vec (*load)(const void *, int64_t),
                                                           const float *x, int64_t stride,
                                                           int64_t in, int rows)
{
    vec sum[ROWS_AT_ONCE][SUMS] = { 0 };
    int64_t i = 0;
    for (; i + SUMS * LANES <= in; i += SUMS * LANES)
        for (int k = 0; k < SUMS; k++) {
            vec value = load(w, i + k * LANES);
            for (int r = 0; r < rows; r++)
                sum[r][k] += value * load_f32(x, r * stride + i + k * LANES);
        }
    for (; i + LANES <= in; i += LANES) {
        vec value = load(w, i);
        for (int r = 0; r < rows; r++)
            sum[r][0] += value * load_f32(x, r * stride + i);
    }
    for (int r = 0; r < rows; r++)
        y[r] = sum_of((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]));
}

#define FOR_ROWS(rows, call)                                                                       \
    switch (rows) {                                                                                \
    case 1: {                                                                                      \
        enum { N = 1 };                                                                            \
        call;                                                                                      \
    } break;                                                                                       \
    case 2: {                                                                                      \
        enum { N = 2 };                                                                            \
        call;                                                                                      \
    } break;                                                                                       \
    case 3: {                                                                                      \
        enum { N = 3 };                                                                            \
        call;                                                                                      \
    } break;                                                                                       \
    default: {                                                                                     \
        enum { N = 4 };                                                                            \
        call;                                                                                      \
    } break;                                                                                       \
    }

/* Returns the sum over the elements after the last full vector of a row. */
static inline float tail_f32(const float *w, const float *x, int64_t in)
{
    float sum = 0;
    for (int64_t i = in / LANES * LANES; i < in; i++)
        sum += w[i] * x[i];
    return sum;
}

/* y[r] = w · (row r of x), for up to four rows of x. */
static inline void dot_f32(float *y, const float *w, const float *x, int64_t stride, int64_t in,
                           int rows)
{
    FOR_ROWS(rows, dot_rows(y, w, load_f32, x, stride, in, N))
    if (in % LANES)
        for (int r = 0; r < rows; r++)
            y[r] += tail_f32(w, x + r * stride, in);
}

static inline float tail_16(const uint16_t *w, bool is_bf16, const float *x, int64_t in)
{
    float sum = 0;
    for (int64_t i = in / LANES * LANES; i < in; i++)
        sum += (is_bf16 ? bf16_to_float(w[i]) : f16_to_float(w[i])) * x[i];
    return sum;
}

static inline void dot_16(float *y, const uint16_t *w, bool is_bf16, const float *x, int64_t stride,
                          int64_t in, int rows)
{
    if (is_bf16)
        FOR_ROWS(rows, dot_rows(y, w, load_bf16, x, stride, in, N))
    else
        FOR_ROWS(rows, dot_rows(y, w, load_f16, x, stride, in, N))
    if (in % LANES)
        for (int r = 0; r < rows; r++)
            y[r] += tail_16(w, is_bf16, x + r * stride, in);
}

#endif
