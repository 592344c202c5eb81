/* SwiGLU and GEGLU (Shazeer 2020), forward and backward. */
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

/* ---- GELU instead of SiLU ---- */

/* z = √(2/π) · (x + 0.044715 x³) = x · (ROOT + CUBE · x²) */
#define ROOT 0.797884561f
#define CUBE (ROOT * 0.044715f)

/* Limits x to ±10. Beyond that e^(−2z) might overflow, and gelu(x) is 0 or x. */
static inline float near_zero(float x) { return x < -10 ? -10 : x > 10 ? 10 : x; }

/* Returns e^(−2z), with which gelu(x) = x / (1 + e^(−2z)). */
static inline float gelu_exp(float near)
{
    return fast_exp(-2 * near * (ROOT + CUBE * near * near));
}

static void gelu_fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct gated *g = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, g->rows); t++) {
        float *s = row_of(g->s, t);
        const float *gate = row_of(g->gate, t), *up = row_of(g->up, t);
#pragma omp simd
        for (int64_t i = 0; i < g->cols; i++)
            s[i] = gate[i] * (1 / (1 + gelu_exp(near_zero(gate[i])))) * up[i];
    }
}

void geglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    struct gated g = { s, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), gelu_fwd_rows, &g);
}

/* gelu'(x) = σ(2z) + x · σ(2z) · (1 − σ(2z)) · 2z', where 1 − σ(2z) = e^(−2z) · σ(2z) has no
 * difference of nearly equal numbers. */
static void gelu_bwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct gated *g = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, g->rows); t++) {
        float *restrict ds = row_of(g->s, t);
        float *restrict gate = row_of(g->gate, t), *restrict up = row_of(g->up, t);
#pragma omp simd
        for (int64_t i = 0; i < g->cols; i++) {
            float d = ds[i], x = gate[i], u = up[i];
            float near = near_zero(x), e = gelu_exp(near);
            float part = 1 / (1 + e), gelu = x * part;
            float slope = 2 * (ROOT + 3 * CUBE * near * near);
            ds[i] = gelu * u;
            up[i] = d * gelu;
            gate[i] = d * u * (part + near * part * (e * part) * slope);
        }
    }
}

void geglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    struct gated g = { ds, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), gelu_bwd_rows, &g);
}
