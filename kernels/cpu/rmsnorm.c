/* RMSNorm (Zhang, Sennrich 2019) of whole rows and of heads, forward and backward. */
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { COLUMN_TILE = 32 };

struct norm {
    struct mat y, x, residual, dx, dy;
    float *rstd, *dgain;
    const float *gain;
    int64_t rows, dim;
    float eps;
};

static void fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct norm *n = arg;
    int64_t dim = n->dim;
    const float *restrict gain = n->gain;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, n->rows); t++) {
        const float *restrict x = row_of(n->x, t);
        float *restrict y = row_of(n->y, t), sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < dim; i++)
            sum += x[i] * x[i];
        float rstd = 1 / sqrtf(sum / (float)dim + n->eps);
        n->rstd[t] = rstd;
        for (int64_t i = 0; i < dim; i++)
            y[i] = x[i] * rstd * gain[i];
    }
}

void rmsnorm_fwd(struct device *dev, struct mat y, float *rstd, struct mat x, const float *gain,
                 int64_t rows, int64_t dim, float eps)
{
    must(y.at != x.at);
    struct norm n = {
        .y = y, .x = x, .rstd = rstd, .gain = gain, .rows = rows, .dim = dim, .eps = eps
    };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), fwd_rows, &n);
}

static float rstd_of(const float *x, int64_t dim, float eps)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; i++)
        sum += x[i] * x[i];
    return 1 / sqrtf(sum / (float)dim + eps);
}

static void add_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct norm *n = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, n->rows); t++) {
        const float *x = row_of(n->x, t), *residual = row_of(n->residual, t), *gain = n->gain;
        float *y = row_of(n->y, t), rstd = rstd_of(x, n->dim, n->eps);
#pragma omp simd
        for (int64_t i = 0; i < n->dim; i++)
            y[i] = residual[i] + x[i] * rstd * gain[i];
    }
}

void rmsnorm_add(struct device *dev, struct mat y, struct mat x, struct mat residual,
                 const float *gain, int64_t rows, int64_t dim, float eps)
{
    must(y.at != x.at);
    struct norm n = {
        .y = y, .x = x, .residual = residual, .gain = gain, .rows = rows, .dim = dim, .eps = eps
    };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), add_rows, &n);
}

static void bwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct norm *n = arg;
    int64_t dim = n->dim;
    const float *restrict gain = n->gain;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, n->rows); t++) {
        const float *restrict x = row_of(n->x, t), *restrict dy = row_of(n->dy, t);
        float *restrict dx = row_of(n->dx, t), rstd = n->rstd[t], dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < dim; i++)
            dot += gain[i] * dy[i] * x[i];
        float mean = dot * rstd / (float)dim;
        for (int64_t i = 0; i < dim; i++)
            dx[i] += rstd * (gain[i] * dy[i] - x[i] * rstd * mean);
    }
}

static void bwd_gain(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct norm *n = arg;
    int64_t first = task * COLUMN_TILE, count = min_i64(COLUMN_TILE, n->dim - first);
    float sum[COLUMN_TILE] = { 0 };
    for (int64_t t = 0; t < n->rows; t++) {
        const float *x = row_of(n->x, t) + first, *dy = row_of(n->dy, t) + first;
        float rstd = n->rstd[t];
        for (int64_t i = 0; i < count; i++)
            sum[i] += dy[i] * x[i] * rstd;
    }
    for (int64_t i = 0; i < count; i++)
        n->dgain[first + i] += sum[i];
}

void rmsnorm_bwd(struct device *dev, struct mat dx_acc, float *dgain_acc, struct mat dy,
                 struct mat x, const float *rstd, const float *gain, int64_t rows, int64_t dim)
{
    struct norm n = { .dx = dx_acc,
                      .dgain = dgain_acc,
                      .dy = dy,
                      .x = x,
                      .rstd = (float *)rstd,
                      .gain = gain,
                      .rows = rows,
                      .dim = dim };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), bwd_rows, &n);
    if (dgain_acc) pool_run(dev->pool, ceil_div(dim, COLUMN_TILE), bwd_gain, &n);
}

/* ---- QK norm: RMSNorm of each head ---- */

struct head_norm {
    struct mat y, x, dx, dy;
    float *dgain;
    const float *gain;
    int64_t rows, heads, dim;
    float eps;
};

static void heads_fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_norm *n = arg;
    const float *restrict gain = n->gain;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, n->rows); t++)
        for (int64_t h = 0; h < n->heads; h++) {
            const float *restrict x = head_at(n->x, t, h, n->dim);
            float *restrict y = head_at(n->y, t, h, n->dim), rstd = rstd_of(x, n->dim, n->eps);
            for (int64_t i = 0; i < n->dim; i++)
                y[i] = x[i] * rstd * gain[i];
        }
}

void rmsnorm_heads_fwd(struct device *dev, struct mat y, struct mat x, const float *gain,
                       int64_t rows, int64_t heads, int64_t head_dim, float eps)
{
    must(y.at != x.at);
    struct head_norm n = {
        .y = y, .x = x, .gain = gain, .rows = rows, .heads = heads, .dim = head_dim, .eps = eps
    };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), heads_fwd_rows, &n);
}

/* dx may be x, so each element of x is read before the same element of dx is written. */
static void heads_bwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_norm *n = arg;
    const float *gain = n->gain;
    int64_t dim = n->dim;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, n->rows); t++)
        for (int64_t h = 0; h < n->heads; h++) {
            const float *x = head_at(n->x, t, h, dim), *dy = head_at(n->dy, t, h, dim);
            float *dx = head_at(n->dx, t, h, dim), rstd = rstd_of(x, dim, n->eps), dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t i = 0; i < dim; i++)
                dot += gain[i] * dy[i] * x[i];
            float mean = dot * rstd / (float)dim;
#pragma omp simd
            for (int64_t i = 0; i < dim; i++)
                dx[i] = rstd * (gain[i] * dy[i] - x[i] * rstd * mean);
        }
}

/* A task sums some columns of a head over all rows and heads. */
static void heads_bwd_gain(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_norm *n = arg;
    int64_t first = task * COLUMN_TILE, count = min_i64(COLUMN_TILE, n->dim - first);
    float sum[COLUMN_TILE] = { 0 };
    for (int64_t t = 0; t < n->rows; t++)
        for (int64_t h = 0; h < n->heads; h++) {
            const float *x = head_at(n->x, t, h, n->dim), *dy = head_at(n->dy, t, h, n->dim);
            float rstd = rstd_of(x, n->dim, n->eps);
            for (int64_t i = 0; i < count; i++)
                sum[i] += dy[first + i] * x[first + i] * rstd;
        }
    for (int64_t i = 0; i < count; i++)
        n->dgain[first + i] += sum[i];
}

void rmsnorm_heads_bwd(struct device *dev, struct mat dx, float *dgain_acc, struct mat dy,
                       struct mat x, const float *gain, int64_t rows, int64_t heads,
                       int64_t head_dim, float eps)
{
    struct head_norm n = { .dx = dx,
                           .dgain = dgain_acc,
                           .dy = dy,
                           .x = x,
                           .gain = gain,
                           .rows = rows,
                           .heads = heads,
                           .dim = head_dim,
                           .eps = eps };
    /* The gradient of the gain comes first, because dx may overwrite x. */
    if (dgain_acc) pool_run(dev->pool, ceil_div(head_dim, COLUMN_TILE), heads_bwd_gain, &n);
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), heads_bwd_rows, &n);
}
