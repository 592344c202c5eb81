/* AdamW, the norm of a gradient and the sum of two gradients. Compiled without fused multiply-add,
 * so that AdamW and the sum of gradients have the same bits at all levels of the instruction set
 * and in all backends. */
#include "kernels/cpu/cpu.h"

#include <math.h>

struct adamw_update {
    float *p, *m, *v, *g;
    int64_t count;
    float beta1, beta2, eps, gscale, step_size, decay_factor, correction2_root;
};

static void update_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct adamw_update *u = arg;
    int64_t first = task * FLAT_TILE, count = min_i64(FLAT_TILE, u->count - first);
    float *restrict p = u->p + first, *restrict m = u->m + first, *restrict v = u->v + first;
    float *restrict g = u->g + first;
    for (int64_t i = 0; i < count; i++) {
        float d = g[i] * u->gscale;
        float mi = u->beta1 * m[i] + (1 - u->beta1) * d;
        float vi = u->beta2 * v[i] + (1 - u->beta2) * d * d;
        m[i] = mi;
        v[i] = vi;
        p[i] =
            p[i] * u->decay_factor - u->step_size * mi / (sqrtf(vi) / u->correction2_root + u->eps);
        g[i] = 0;
    }
}

void adamw(struct device *dev, float *p, float *m, float *v, float *g, int64_t count, float lr,
           float beta1, float beta2, float eps, float decay, int64_t step, float gscale)
{
    must(step > 0);
    double correction1 = 1 - pow((double)beta1, (double)step);
    double correction2 = 1 - pow((double)beta2, (double)step);
    struct adamw_update u = { .p = p,
                              .m = m,
                              .v = v,
                              .g = g,
                              .count = count,
                              .beta1 = beta1,
                              .beta2 = beta2,
                              .eps = eps,
                              .gscale = gscale,
                              .step_size = (float)((double)lr / correction1),
                              .decay_factor = 1 - lr * decay,
                              .correction2_root = (float)sqrt(correction2) };
    pool_run(dev->pool, ceil_div(count, FLAT_TILE), update_piece, &u);
}

struct squares {
    const float *g;
    int64_t count, size;
    double sum[SUM_PIECES];
};

static double square_range(const float *g, int64_t count)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += (double)g[i] * (double)g[i];
    return sum;
}

static void square_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    struct squares *s = arg;
    int64_t first = task * s->size;
    s->sum[task] = square_range(s->g + first, min_i64(s->size, s->count - first));
}

void sum_squares(struct device *dev, double *sum, const float *g, int64_t count)
{
    struct squares s = { .g = g, .count = count, .size = ceil_div(count, SUM_PIECES) };
    int64_t tasks = s.size ? ceil_div(count, s.size) : 0;
    pool_run(dev->pool, tasks, square_piece, &s);
    *sum = 0;
    for (int64_t i = 0; i < tasks; i++)
        *sum += s.sum[i];
}

/* The pieces of one task are a tile of the flat array. */
struct squared {
    double *squares;
    const float *g;
    int64_t count;
};

static void square_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct squared *s = arg;
    int64_t end = min_i64((task + 1) * FLAT_TILE, s->count);
    for (int64_t first = task * FLAT_TILE; first < end; first += SQUARES_PIECE)
        s->squares[first / SQUARES_PIECE] =
            square_range(s->g + first, min_i64(SQUARES_PIECE, end - first));
}

void square_pieces(struct device *dev, double *squares, const float *g, int64_t count)
{
    struct squared s = { squares, g, count };
    must(FLAT_TILE % SQUARES_PIECE == 0);
    pool_run(dev->pool, ceil_div(count, FLAT_TILE), square_tile, &s);
}

struct folded {
    float *g_acc;
    const float *g;
    int64_t count;
};

static void fold_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct folded *f = arg;
    int64_t first = task * FLAT_TILE, count = min_i64(FLAT_TILE, f->count - first);
    float *restrict g_acc = f->g_acc + first;
    const float *restrict g = f->g + first;
    for (int64_t i = 0; i < count; i++)
        g_acc[i] += g[i];
}

void fold(struct device *dev, float *g_acc, const float *g, int64_t count)
{
    struct folded f = { g_acc, g, count };
    pool_run(dev->pool, ceil_div(count, FLAT_TILE), fold_tile, &f);
}
