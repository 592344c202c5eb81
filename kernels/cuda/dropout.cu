/* Dropout. The masks are those of the CPU, bit for bit (dropout.cuh). */
#include "kernels/cuda/dropout.cuh"

#include "kernels/cuda/rowwise.cuh"

KERNEL(THREADS, 1)
dropout_mask_kernel(uint8_t *keep, const mask m, uint32_t dropout_stream, int64_t dim,
                    int64_t count)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= count) return;
    uint64_t e = m.first_row * (uint64_t)dim + (uint64_t)n;
    keep[n] = lanes_of(m.key, e / 8, dropout_stream).of(e % 8) >= m.keep_threshold;
}

void dropout_mask(struct device *dev, uint8_t *keep, uint32_t dropout_stream, int64_t rows,
                  int64_t dim, struct dropout drop)
{
    int64_t count = rows * dim;
    if (!count) return;
    LAUNCH(dropout_mask_kernel, dim3((unsigned)ceil_div(count, THREADS)), dim3(THREADS), 0,
           dev->stream, keep, mask_of(drop), dropout_stream, dim, count);
    launched(dev, __func__);
}

/* Computes out = mask ⊙ x · scale; if ADDS is set, out += mask ⊙ x · scale. Rows of out and x are
 * out_stride and x_stride apart. N divides 8. */
template <int N, bool ADDS>
DEVICE void masked_row(elem *out, int64_t out_stride, const elem *x, int64_t x_stride, int64_t dim,
                       const mask &m, uint32_t dropout_stream)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p, sum;
        load(p, x + row * x_stride + i);
        if (ADDS) load(sum, out + row * out_stride + i);
        apply_mask(p, m, dropout_stream,
                   (m.first_row + (uint64_t)row) * (uint64_t)dim + (uint64_t)i);
        for (int j = 0; j < N && ADDS; j++)
            p.v[j] += sum.v[j];
        store(out + row * out_stride + i, p);
    }
}

template <int N>
KERNEL(THREADS, 1)
drop_kernel(elem *out, int64_t out_stride, const elem *x, int64_t x_stride, int64_t dim,
            const mask m, uint32_t dropout_stream)
{
    masked_row<N, false>(out, out_stride, x, x_stride, dim, m, dropout_stream);
}

template <int N>
KERNEL(THREADS, 1)
add_masked_kernel(elem *out, int64_t out_stride, const elem *x, int64_t x_stride, int64_t dim,
                  const mask m, uint32_t dropout_stream)
{
    masked_row<N, true>(out, out_stride, x, x_stride, dim, m, dropout_stream);
}

void drop_rows(struct device *dev, elem *out, struct mat x, uint32_t dropout_stream, int64_t rows,
               int64_t dim, struct dropout drop)
{
    LAUNCH_ROWS(mat_is_wide(x, dim) && is_wide(out, dim, dim, sizeof(elem)), drop_kernel, rows, out,
                dim, elems(x), x.stride, dim, mask_of(drop), dropout_stream);
}

void add_masked(struct device *dev, struct mat dx, const elem *t, uint32_t dropout_stream,
                int64_t rows, int64_t dim, struct dropout drop)
{
    LAUNCH_ROWS(mat_is_wide(dx, dim) && is_wide(t, dim, dim, sizeof(elem)), add_masked_kernel, rows,
                elems(dx), dx.stride, t, dim, dim, mask_of(drop), dropout_stream);
}
