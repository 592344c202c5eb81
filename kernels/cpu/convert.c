/* Converts flat arrays of f32, f16 or bf16 to f32, and f32 (or a sum a + scale · b) to these types.
 * Memory bandwidth limits the speed. Compiled without fused multiply-add, because narrow_sum rounds
 * the product and the sum separately. */
#include "kernels/cpu/cpu.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

struct conversion {
    void *out;
    const void *in;
    const float *added; /* NULL: nothing is added */
    float scale;        /* factor of `added` */
    enum dtype type;
    int64_t count;
};

static void widen_f16(float *to, const uint16_t *from, int64_t count)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(from + i))));
#elif defined(__F16C__)
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + i))));
#endif
    for (; i < count; i++)
        to[i] = f16_to_float(from[i]);
}

void widen_range(float *to, const void *from, enum dtype type, int64_t first, int64_t count)
{
    if (type == DTYPE_F32) {
        memcpy(to, (const float *)from + first, (size_t)count * sizeof *to);
        return;
    }
    const uint16_t *half = (const uint16_t *)from + first;
    if (type == DTYPE_F16)
        widen_f16(to, half, count);
    else
        for (int64_t i = 0; i < count; i++)
            to[i] = bf16_to_float(half[i]);
}

static void widen_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct conversion *c = arg;
    int64_t first = task * FLAT_TILE;
    widen_range((float *)c->out + first, c->in, c->type, first,
                min_i64(FLAT_TILE, c->count - first));
}

void widen(struct device *dev, float *out, const void *in, enum dtype type, int64_t count)
{
    must(type != DTYPE_NF4);
    struct conversion c = { .out = out, .in = in, .type = type, .count = count };
    pool_run(dev->pool, ceil_div(count, FLAT_TILE), widen_piece, &c);
}

static void narrow_f16(uint16_t *to, const float *from, int64_t count)
{
    int64_t i = 0;
#if defined(__F16C__)
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((void *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < count; i++)
        to[i] = f16_from_float(from[i]);
}

void narrow_range(void *to, enum dtype type, int64_t first, const float *from, int64_t count)
{
    if (type == DTYPE_F32)
        memcpy((float *)to + first, from, (size_t)count * sizeof *from);
    else if (type == DTYPE_F16)
        narrow_f16((uint16_t *)to + first, from, count);
    else
        for (int64_t i = 0; i < count; i++)
            ((bf16 *)to)[first + i] = bf16_from_float(from[i]);
}

static void narrow_piece(void *arg, int64_t task, int worker)
{
    enum { RUN = 512 };
    (void)worker;
    const struct conversion *c = arg;
    int64_t end = min_i64((task + 1) * FLAT_TILE, c->count);
    for (int64_t first = task * FLAT_TILE; first < end; first += RUN) {
        float sum[RUN];
        int64_t n = min_i64(RUN, end - first);
        const float *a = (const float *)c->in + first, *b = c->added ? c->added + first : NULL;
        float scale = c->scale;
        for (int64_t i = 0; b && i < n; i++)
            sum[i] = a[i] + scale * b[i];
        narrow_range(c->out, c->type, first, b ? sum : a, n);
    }
}

void narrow_sum(struct device *dev, void *out, enum dtype type, const float *a, float scale,
                const float *b, int64_t count)
{
    must(type != DTYPE_NF4);
    struct conversion c = {
        .out = out, .in = a, .added = b, .scale = scale, .type = type, .count = count
    };
    pool_run(dev->pool, ceil_div(count, FLAT_TILE), narrow_piece, &c);
}
