/* SwiGLU and GEGLU (Shazeer 2020), forward and backward. */
#include "kernels/cuda/rowwise.cuh"

DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }

template <int N>
KERNEL(THREADS, 1)
swiglu_fwd_kernel(elem *s, int64_t s_stride, const elem *gate, int64_t gate_stride, const elem *up,
                  int64_t up_stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> g, u;
        load(g, gate + row * gate_stride + i);
        load(u, up + row * up_stride + i);
        for (int j = 0; j < N; j++)
            g.v[j] = g.v[j] * sigmoid(g.v[j]) * u.v[j];
        store(s + row * s_stride + i, g);
    }
}

void swiglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(s, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols),
                swiglu_fwd_kernel, rows, elems(s), s.stride, elems(gate), gate.stride, elems(up),
                up.stride, cols);
}

template <int N>
KERNEL(THREADS, 1)
swiglu_bwd_kernel(elem *ds, int64_t ds_stride, elem *gate, int64_t gate_stride, elem *up,
                  int64_t up_stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> d, g, u, s;
        load(d, ds + row * ds_stride + i);
        load(g, gate + row * gate_stride + i);
        load(u, up + row * up_stride + i);
        for (int j = 0; j < N; j++) {
            float sigma = sigmoid(g.v[j]), swish = g.v[j] * sigma;
            s.v[j] = swish * u.v[j];
            g.v[j] = d.v[j] * u.v[j] * (sigma + swish * (1 - sigma));
            u.v[j] = d.v[j] * swish;
        }
        store(ds + row * ds_stride + i, s);
        store(gate + row * gate_stride + i, g);
        store(up + row * up_stride + i, u);
    }
}

void swiglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
                int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(ds, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols),
                swiglu_bwd_kernel, rows, elems(ds), ds.stride, elems(gate), gate.stride, elems(up),
                up.stride, cols);
}

/* ---- GELU instead of SiLU ---- */

/* 2z = 2 √(2/π) · (x + 0.044715 x³) = x · (ROOT + CUBE · x²) */
#define ROOT (2 * 0.797884561f)
#define CUBE (ROOT * 0.044715f)

/* Limits x to ±10. Beyond that e^(−2z) might overflow, and gelu(x) is 0 or x. */
DEVICE float near_zero(float x) { return x < -10 ? -10 : x > 10 ? 10 : x; }

/* Returns e^(−2z), with which gelu(x) = x / (1 + e^(−2z)). */
DEVICE float gelu_exp(float near) { return expf(-near * (ROOT + CUBE * near * near)); }

template <int N>
KERNEL(THREADS, 1)
geglu_fwd_kernel(elem *s, int64_t s_stride, const elem *gate, int64_t gate_stride, const elem *up,
                 int64_t up_stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> g, u;
        load(g, gate + row * gate_stride + i);
        load(u, up + row * up_stride + i);
        for (int j = 0; j < N; j++)
            g.v[j] = g.v[j] * (1 / (1 + gelu_exp(near_zero(g.v[j])))) * u.v[j];
        store(s + row * s_stride + i, g);
    }
}

void geglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(s, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols),
                geglu_fwd_kernel, rows, elems(s), s.stride, elems(gate), gate.stride, elems(up),
                up.stride, cols);
}

/* gelu'(x) = σ(2z) + x · σ(2z) · (1 − σ(2z)) · 2z', where 1 − σ(2z) = e^(−2z) · σ(2z) has no
 * difference of nearly equal numbers. */
template <int N>
KERNEL(THREADS, 1)
geglu_bwd_kernel(elem *ds, int64_t ds_stride, elem *gate, int64_t gate_stride, elem *up,
                 int64_t up_stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> d, g, u, s;
        load(d, ds + row * ds_stride + i);
        load(g, gate + row * gate_stride + i);
        load(u, up + row * up_stride + i);
        for (int j = 0; j < N; j++) {
            float near = near_zero(g.v[j]), e = gelu_exp(near);
            float part = 1 / (1 + e), gelu = g.v[j] * part;
            float slope = ROOT + 3 * CUBE * near * near;
            s.v[j] = gelu * u.v[j];
            g.v[j] = d.v[j] * u.v[j] * (part + near * part * (e * part) * slope);
            u.v[j] = d.v[j] * gelu;
        }
        store(ds + row * ds_stride + i, s);
        store(gate + row * gate_stride + i, g);
        store(up + row * up_stride + i, u);
    }
}

void geglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
               int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(ds, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols),
                geglu_bwd_kernel, rows, elems(ds), ds.stride, elems(gate), gate.stride, elems(up),
                up.stride, cols);
}
