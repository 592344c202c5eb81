/* Multiplies by a factor and adds: out = residual + scale · x. */
#include "kernels/cpu/cpu.h"

struct scaled {
    struct mat out, residual, x;
    float scale;
    int64_t rows, cols;
};

static void scale_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct scaled *s = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, s->rows); t++) {
        float *out = row_of(s->out, t);
        const float *x = row_of(s->x, t),
                    *residual = s->residual.at ? row_of(s->residual, t) : NULL;
        if (residual) {
#pragma omp simd
            for (int64_t i = 0; i < s->cols; i++)
                out[i] = residual[i] + s->scale * x[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < s->cols; i++)
                out[i] = s->scale * x[i];
        }
    }
}

void scale_add(struct device *dev, struct mat out, struct mat residual, struct mat x, float scale,
               int64_t rows, int64_t cols)
{
    struct scaled s = { out, residual, x, scale, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), scale_rows, &s);
}
