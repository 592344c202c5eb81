#include "kernels/cpu/cpu.h"

struct gated {
    struct mat s, gate, up;
    int64_t rows, cols;
};

static inline float sigmoid(float x) { return 1 / (1 + fast_exp(-x)); }

static void fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct gated *g = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, g->rows); t++) {
        float *s = row_of(g->s, t);
        const float *gate = row_of(g->gate, t), *up = row_of(g->up, t);
#pragma omp simd
        for (int64_t i = 0; i < g->cols; i++)
            s[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

void swiglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    struct gated g = { s, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), fwd_rows, &g);
}

static void bwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct gated *g = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, g->rows); t++) {
        float *restrict ds = row_of(g->s, t);
        float *restrict gate = row_of(g->gate, t), *restrict up = row_of(g->up, t);
#pragma omp simd
        for (int64_t i = 0; i < g->cols; i++) {
            float d = ds[i], x = gate[i], u = up[i];
            float sigma = sigmoid(x), silu = x * sigma;
            ds[i] = silu * u;
            up[i] = d * silu;
            gate[i] = d * u * sigma * (1 + x * (1 - sigma));
        }
    }
}

void swiglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    struct gated g = { ds, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), bwd_rows, &g);
}
