/* Multiplies by a factor and adds: out = residual + scale · x. */
#include "kernels/cuda/rowwise.cuh"

template <int N>
KERNEL(THREADS, 1)
scale_add_kernel(elem *out, int64_t out_stride, const elem *residual, int64_t residual_stride,
                 const elem *x, int64_t x_stride, float scale, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p, r;
        load(p, x + row * x_stride + i);
        if (residual) load(r, residual + row * residual_stride + i);
        for (int j = 0; j < N; j++)
            p.v[j] = residual ? r.v[j] + scale * p.v[j] : scale * p.v[j];
        store(out + row * out_stride + i, p);
    }
}

void scale_add(struct device *dev, struct mat out, struct mat residual, struct mat x, float scale,
               int64_t rows, int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(out, cols) && mat_is_wide(residual, cols) && mat_is_wide(x, cols),
                scale_add_kernel, rows, elems(out), out.stride, (const elem *)elems(residual),
                residual.stride, (const elem *)elems(x), x.stride, scale, cols);
}
