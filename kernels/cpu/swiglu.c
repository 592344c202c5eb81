/* SwiGLU and GEGLU (Shazeer 2020), forward and backward. */
#include "kernels/cpu/cpu.h"

struct gated {
    struct mat s, gate, up;
    int64_t rows, cols;
};

/* ---- the activations: act(x), and d · act'(x) for a gradient d ---- */

static inline float sigmoid(float x) { return 1 / (1 + fast_exp(-x)); }

static inline float silu(float x) { return x * sigmoid(x); }

static inline float silu_bwd(float d, float x)
{
    float sigma = sigmoid(x);
    return d * sigma * (1 + x * (1 - sigma));
}

/* z = √(2/π) · (x + 0.044715 x³) = x · (ROOT + CUBE · x²) */
#define ROOT 0.797884561f
#define CUBE (ROOT * 0.044715f)

/* Limits x to ±10. Beyond ±10, e^(−2z) might overflow, and gelu(x) is 0 or x. */
static inline float clamp(float x) { return x < -10 ? -10 : x > 10 ? 10 : x; }

/* Returns e^(−2z) for a clamped x. With it, gelu(x) = x / (1 + e^(−2z)). */
static inline float gelu_exp(float x) { return fast_exp(-2 * x * (ROOT + CUBE * x * x)); }

static inline float gelu(float x) { return x * (1 / (1 + gelu_exp(clamp(x)))); }

/* gelu'(x) = σ(2z) + x · σ(2z) · (1 − σ(2z)) · 2z', where 1 − σ(2z) = e^(−2z) · σ(2z) has no
 * difference of nearly equal numbers. */
static inline float gelu_bwd(float d, float x)
{
    float clamped = clamp(x), e = gelu_exp(clamped), sigma = 1 / (1 + e);
    float slope = 2 * (ROOT + 3 * CUBE * clamped * clamped);
    return d * (sigma + clamped * sigma * (e * sigma) * slope);
}

/* ---- the rows of a task ---- */

/* Callers pass constants for `act` and `act_bwd`, so that these are inlined. */
static inline __attribute__((always_inline)) void fwd_rows(const struct gated *g, int64_t task,
                                                           float (*act)(float))
{
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, g->rows); t++) {
        float *s = row_of(g->s, t);
        const float *gate = row_of(g->gate, t), *up = row_of(g->up, t);
#pragma omp simd
        for (int64_t i = 0; i < g->cols; i++)
            s[i] = act(gate[i]) * up[i];
    }
}

static inline __attribute__((always_inline)) void
bwd_rows(const struct gated *g, int64_t task, float (*act)(float), float (*act_bwd)(float, float))
{
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, g->rows); t++) {
        float *restrict ds = row_of(g->s, t);
        float *restrict gate = row_of(g->gate, t), *restrict up = row_of(g->up, t);
#pragma omp simd
        for (int64_t i = 0; i < g->cols; i++) {
            float d = ds[i], x = gate[i], u = up[i], y = act(x);
            ds[i] = y * u;
            up[i] = d * y;
            gate[i] = act_bwd(d * u, x);
        }
    }
}

/* ---- operations ---- */

static void swiglu_fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    fwd_rows(arg, task, silu);
}

static void swiglu_bwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    bwd_rows(arg, task, silu, silu_bwd);
}

static void geglu_fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    fwd_rows(arg, task, gelu);
}

static void geglu_bwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    bwd_rows(arg, task, gelu, gelu_bwd);
}

void swiglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    struct gated g = { s, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), swiglu_fwd_rows, &g);
}

void swiglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    struct gated g = { ds, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), swiglu_bwd_rows, &g);
}

void geglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    struct gated g = { s, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), geglu_fwd_rows, &g);
}

void geglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    struct gated g = { ds, gate, up, rows, cols };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), geglu_bwd_rows, &g);
}
