/* Copies matrices: from f32 to elem, from elem to f32, and rows of elem. */
#include "kernels/cuda/rowwise.cuh"

template <int N>
KERNEL(THREADS, 1)
cast_in_kernel(elem *out, int64_t stride, const float *in, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p;
        load(p, in + row * cols + i);
        store(out + row * stride + i, p);
    }
}

void cast_in(struct device *dev, struct mat out, const float *in, int64_t rows, int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(out, cols) && is_wide(in, cols, cols, 4), cast_in_kernel, rows,
                elems(out), out.stride, in, cols);
}

template <int N>
KERNEL(THREADS, 1)
cast_out_kernel(float *out, const elem *in, int64_t stride, int64_t cols)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p;
        load(p, in + row * stride + i);
        store(out + row * cols + i, p);
    }
}

void cast_out(struct device *dev, float *out, struct mat in, int64_t rows, int64_t cols)
{
    LAUNCH_ROWS(mat_is_wide(in, cols) && is_wide(out, cols, cols, 4), cast_out_kernel, rows, out,
                elems(in), in.stride, cols);
}

/* A block copies THREADS packs. The packs may belong to several rows, because rows may be short. */
template <int N>
KERNEL(THREADS, 1)
copy_kernel(elem *out, int64_t out_stride, const elem *in, int64_t in_stride, int64_t rows,
            int packs)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = n / packs;
    int64_t i = (n - row * packs) * N;
    if (row >= rows) return;
    pack<N> p;
    load(p, in + row * in_stride + i);
    store(out + row * out_stride + i, p);
}

void copy_rows(struct device *dev, struct mat out, struct mat in, int64_t rows, int64_t cols)
{
    bool wide = mat_is_wide(out, cols) && mat_is_wide(in, cols);
    int packs = (int)(wide ? cols / 8 : cols);
    if (!rows || !cols) return;
    dim3 grid((unsigned)ceil_div(rows * packs, THREADS));
    if (wide)
        LAUNCH(copy_kernel<8>, grid, dim3(THREADS), 0, dev->stream, elems(out), out.stride,
               elems(in), in.stride, rows, packs);
    else
        LAUNCH(copy_kernel<1>, grid, dim3(THREADS), 0, dev->stream, elems(out), out.stride,
               elems(in), in.stride, rows, packs);
    launched(dev, __func__);
}
