/* Flat ranges between f32 and the types that weights are stored in; bound by memory. Compiled
 * without contraction: the roundings of a merge are part of a promise. */
#include "cpu.h"

#include <math.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

struct conversion {
    void *out;
    const void *in;
    const float *added; /* NULL: nothing */
    float scale;        /* of what is added */
    enum weight_type type;
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

static void widen_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct conversion *c = arg;
    int64_t first = task * FLAT_TILE, n = least(FLAT_TILE, c->count - first);
    float *to = (float *)c->out + first;
    if (c->type == WEIGHT_F32) {
        memcpy(to, (const float *)c->in + first, (size_t)n * sizeof *to);
        return;
    }
    const uint16_t *from = (const uint16_t *)c->in + first;
    if (c->type == WEIGHT_F16)
        widen_f16(to, from, n);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = bf16_to_float(from[i]);
}

void widen(struct device *dev, float *out, const void *in, enum weight_type type, int64_t count)
{
    must(type != WEIGHT_NF4);
    struct conversion c = { .out = out, .in = in, .type = type, .count = count };
    pool_run(dev->pool, pieces(count, FLAT_TILE), widen_piece, &c);
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

static void narrow_piece(void *arg, int64_t task, int worker)
{
    enum { RUN = 512 };
    (void)worker;
    const struct conversion *c = arg;
    int64_t end = least((task + 1) * FLAT_TILE, c->count);
    for (int64_t first = task * FLAT_TILE; first < end; first += RUN) {
        float sum[RUN];
        int64_t n = least(RUN, end - first);
        const float *a = (const float *)c->in + first, *b = c->added ? c->added + first : NULL;
        float scale = c->scale;
        for (int64_t i = 0; b && i < n; i++)
            sum[i] = a[i] + scale * b[i];
        const float *from = b ? sum : a;
        if (c->type == WEIGHT_F16)
            narrow_f16((uint16_t *)c->out + first, from, n);
        else if (c->type == WEIGHT_F32)
            memcpy((float *)c->out + first, from, (size_t)n * sizeof *from);
        else
            for (int64_t i = 0; i < n; i++)
                ((bf16 *)c->out)[first + i] = bf16_from_float(from[i]);
    }
}

void narrow_sum(struct device *dev, void *out, enum weight_type type, const float *a, float scale,
                const float *b, int64_t count)
{
    must(type != WEIGHT_NF4);
    struct conversion c = {
        .out = out, .in = a, .added = b, .scale = scale, .type = type, .count = count
    };
    pool_run(dev->pool, pieces(count, FLAT_TILE), narrow_piece, &c);
}

/* ---- how far apart ---- */

struct comparison {
    const float *a, *b;
    int64_t count, size;
    struct difference part[SUM_PIECES];
};

static void compare_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    struct comparison *c = arg;
    int64_t first = task * c->size, end = least(first + c->size, c->count);
    double squares = 0, wrong = 0;
    float most = 0;
#pragma omp simd reduction(+ : squares, wrong) reduction(max : most)
    for (int64_t i = first; i < end; i++) {
        float d = fabsf(c->a[i] - c->b[i]);
        squares += (double)c->a[i] * (double)c->a[i];
        wrong += (double)d * (double)d;
        most = d > most ? d : most;
    }
    c->part[task] = (struct difference){ squares, wrong, (double)most };
}

void difference(struct device *dev, struct difference *d, const float *a, const float *b,
                int64_t count)
{
    struct comparison c = { .a = a, .b = b, .count = count, .size = pieces(count, SUM_PIECES) };
    int64_t tasks = c.size ? pieces(count, c.size) : 0;
    *d = (struct difference){ 0 };
    pool_run(dev->pool, tasks, compare_piece, &c);
    for (int64_t i = 0; i < tasks; i++) {
        d->squares += c.part[i].squares;
        d->wrong += c.part[i].wrong;
        d->most = c.part[i].most > d->most ? c.part[i].most : d->most;
    }
}
