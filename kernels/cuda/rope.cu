/* RoPE (Su et al. 2021): rotates the heads of q or k. */
#include "kernels/cuda/rowwise.cuh"

template <int N>
KERNEL(THREADS, 1)
rope_kernel(elem *out, int64_t out_stride, const elem *x, int64_t stride, const float *cos,
            const float *sin, const int32_t *position, int64_t heads, int64_t head_dim,
            int64_t half, float direction)
{
    int64_t row = blockIdx.x, at = position[row] * half, packs = half / N;
    for (int64_t i = threadIdx.x; i < heads * packs; i += THREADS) {
        int64_t head = i / packs, j = i % packs * N;
        const elem *low = x + row * stride + head * head_dim + j;
        elem *to = out + row * out_stride + head * head_dim + j;
        pack<N> a, b, c, s, first, second;
        load(a, low);
        load(b, low + half);
        load(c, cos + at + j);
        load(s, sin + at + j);
        for (int e = 0; e < N; e++) {
            first.v[e] = a.v[e] * c.v[e] - direction * b.v[e] * s.v[e];
            second.v[e] = b.v[e] * c.v[e] + direction * a.v[e] * s.v[e];
        }
        store(to, first);
        store(to + half, second);
    }
    int64_t rest = head_dim - 2 * half;
    if (!rest || out == x) return;
    for (int64_t i = threadIdx.x * N; i < heads * rest; i += THREADS * N) {
        int64_t column = i / rest * head_dim + 2 * half + i % rest;
        pack<N> a;
        load(a, x + row * stride + column);
        store(out + row * out_stride + column, a);
    }
}

void rope_apply(struct device *dev, struct mat out, struct mat x, const float *cos,
                const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                int64_t head_dim, int64_t rotary_dim, int direction)
{
    int64_t half = rotary_dim / 2;
    LAUNCH_ROWS(head_dim % 8 == 0 && mat_is_wide(out, half) && mat_is_wide(x, half) &&
                    is_wide(cos, half, half, 4) && is_wide(sin, half, half, 4),
                rope_kernel, rows, elems(out), out.stride, elems(x), x.stride, cos, sin, position,
                heads, head_dim, half, (float)direction);
}
