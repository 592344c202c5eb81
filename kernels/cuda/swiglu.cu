/* SwiGLU and GEGLU (Shazeer 2020), forward and backward. */
#include "kernels/cuda/rowwise.cuh"

/* ---- the activations ---- */

/* The value of an activation, and its derivative. */
struct activated {
    float value, slope;
};

DEVICE activated silu(float x)
{
    float sigma = 1 / (1 + expf(-x)), value = x * sigma;
    return { value, sigma + value * (1 - sigma) };
}

/* 2z = 2 √(2/π) · (x + 0.044715 x³) = x · (ROOT + CUBE · x²) */
#define ROOT (2 * 0.797884561f)
#define CUBE (ROOT * 0.044715f)

/* Limits x to ±10. Beyond ±10, e^(−2z) might overflow, and gelu(x) is 0 or x. */
DEVICE float clamp(float x) { return x < -10 ? -10 : x > 10 ? 10 : x; }

/* gelu(x) = x · σ(2z) = x / (1 + e^(−2z)). gelu'(x) = σ(2z) + x · σ(2z) · (1 − σ(2z)) · 2z', where
 * 1 − σ(2z) = e^(−2z) · σ(2z) has no difference of nearly equal numbers. */
DEVICE activated gelu(float x)
{
    float clamped = clamp(x), e = expf(-clamped * (ROOT + CUBE * clamped * clamped));
    float sigma = 1 / (1 + e), slope = ROOT + 3 * CUBE * clamped * clamped;
    return { x * sigma, sigma + clamped * sigma * (e * sigma) * slope };
}

template <bool IS_GELU> DEVICE activated activate(float x) { return IS_GELU ? gelu(x) : silu(x); }

/* ---- a row: a block computes it ---- */

struct gated {
    elem *s, *gate, *up; /* in the backward s is ds */
    int64_t s_stride, gate_stride, up_stride, cols;
};

template <int N, bool IS_GELU> DEVICE void gated_fwd(const gated &a)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < a.cols; i += THREADS * N) {
        pack<N> g, u;
        load(g, a.gate + row * a.gate_stride + i);
        load(u, a.up + row * a.up_stride + i);
        for (int j = 0; j < N; j++)
            g.v[j] = activate<IS_GELU>(g.v[j]).value * u.v[j];
        store(a.s + row * a.s_stride + i, g);
    }
}

template <int N, bool IS_GELU> DEVICE void gated_bwd(const gated &a)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < a.cols; i += THREADS * N) {
        pack<N> d, g, u, s;
        load(d, a.s + row * a.s_stride + i);
        load(g, a.gate + row * a.gate_stride + i);
        load(u, a.up + row * a.up_stride + i);
        for (int j = 0; j < N; j++) {
            activated y = activate<IS_GELU>(g.v[j]);
            s.v[j] = y.value * u.v[j];
            g.v[j] = d.v[j] * u.v[j] * y.slope;
            u.v[j] = d.v[j] * y.value;
        }
        store(a.s + row * a.s_stride + i, s);
        store(a.gate + row * a.gate_stride + i, g);
        store(a.up + row * a.up_stride + i, u);
    }
}

template <int N> KERNEL(THREADS, 1) swiglu_fwd_kernel(const gated a) { gated_fwd<N, false>(a); }
template <int N> KERNEL(THREADS, 1) swiglu_bwd_kernel(const gated a) { gated_bwd<N, false>(a); }
template <int N> KERNEL(THREADS, 1) geglu_fwd_kernel(const gated a) { gated_fwd<N, true>(a); }
template <int N> KERNEL(THREADS, 1) geglu_bwd_kernel(const gated a) { gated_bwd<N, true>(a); }

/* ---- operations ---- */

static gated gated_of(struct mat s, struct mat gate, struct mat up, int64_t cols)
{
    return { elems(s), elems(gate), elems(up), s.stride, gate.stride, up.stride, cols };
}

/* Can all rows be read and written eight elements at a time? */
static bool gated_is_wide(struct mat s, struct mat gate, struct mat up, int64_t cols)
{
    return mat_is_wide(s, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols);
}

void swiglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    LAUNCH_ROWS(gated_is_wide(s, gate, up, cols), swiglu_fwd_kernel, rows,
                gated_of(s, gate, up, cols));
}

void swiglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    LAUNCH_ROWS(gated_is_wide(ds, gate, up, cols), swiglu_bwd_kernel, rows,
                gated_of(ds, gate, up, cols));
}

void geglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    LAUNCH_ROWS(gated_is_wide(s, gate, up, cols), geglu_fwd_kernel, rows,
                gated_of(s, gate, up, cols));
}

void geglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    LAUNCH_ROWS(gated_is_wide(ds, gate, up, cols), geglu_bwd_kernel, rows,
                gated_of(ds, gate, up, cols));
}
