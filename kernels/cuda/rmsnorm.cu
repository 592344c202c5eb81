/* RMSNorm (Zhang, Sennrich 2019), forward and backward. */
#include "kernels/cuda/rowwise.cuh"

template <int N>
KERNEL(THREADS, 1)
rmsnorm_fwd_kernel(elem *y, int64_t y_stride, float *rstd, const elem *x, int64_t x_stride,
                   const float *gain, int64_t dim, float eps)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x;
    float sum = 0;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p;
        load(p, x + row * x_stride + i);
        for (int j = 0; j < N; j++)
            sum += p.v[j] * p.v[j];
    }
    sum = block_sum(sum, (float *)memory);
    float r = 1 / sqrtf(sum / (float)dim + eps);
    if (threadIdx.x == 0) rstd[row] = r;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p, g;
        load(p, x + row * x_stride + i);
        load(g, gain + i);
        for (int j = 0; j < N; j++)
            p.v[j] = p.v[j] * r * g.v[j];
        store(y + row * y_stride + i, p);
    }
}

enum { SUM_BYTES = 32 * 8 }; /* scratch of block_sum */

#define LAUNCH_ROWS_SUM(wide, kernel, rows, ...)                                                   \
    do {                                                                                           \
        if (wide)                                                                                  \
            LAUNCH(kernel<8>, dim3((unsigned)(rows)), dim3(THREADS), SUM_BYTES, dev->stream,       \
                   __VA_ARGS__);                                                                   \
        else                                                                                       \
            LAUNCH(kernel<1>, dim3((unsigned)(rows)), dim3(THREADS), SUM_BYTES, dev->stream,       \
                   __VA_ARGS__);                                                                   \
        launched(dev, __func__);                                                                   \
    } while (0)

void rmsnorm_fwd(struct device *dev, struct mat y, float *rstd, struct mat x, const float *gain,
                 int64_t rows, int64_t dim, float eps)
{
    must(y.at != x.at);
    LAUNCH_ROWS_SUM(mat_is_wide(y, dim) && mat_is_wide(x, dim) && is_wide(gain, dim, dim, 4),
                    rmsnorm_fwd_kernel, rows, elems(y), y.stride, rstd, elems(x), x.stride, gain,
                    dim, eps);
}

template <int N>
KERNEL(THREADS, 1)
rmsnorm_bwd_kernel(elem *dx, int64_t dx_stride, const elem *dy, int64_t dy_stride, const elem *x,
                   int64_t x_stride, const float *rstd, const float *gain, int64_t dim)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x;
    float dot = 0, r = rstd[row];
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p, d, g;
        load(p, x + row * x_stride + i);
        load(d, dy + row * dy_stride + i);
        load(g, gain + i);
        for (int j = 0; j < N; j++)
            dot += g.v[j] * d.v[j] * p.v[j];
    }
    float mean = block_sum(dot, (float *)memory) * r / (float)dim;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p, d, g, sum;
        load(p, x + row * x_stride + i);
        load(d, dy + row * dy_stride + i);
        load(g, gain + i);
        load(sum, dx + row * dx_stride + i);
        for (int j = 0; j < N; j++)
            sum.v[j] += r * (g.v[j] * d.v[j] - p.v[j] * r * mean);
        store(dx + row * dx_stride + i, sum);
    }
}

/* partial[piece][i] = Σ over the rows of the piece of dy · x · rstd. */
KERNEL(THREADS, 1)
gain_piece_kernel(float *partial, const elem *dy, int64_t dy_stride, const elem *x,
                  int64_t x_stride, const float *rstd, int64_t rows, int64_t dim)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, piece = blockIdx.y;
    int64_t size = (rows + GAIN_PIECES - 1) / GAIN_PIECES, end = (piece + 1) * size;
    if (i >= dim) return;
    float sum = 0;
    for (int64_t t = piece * size; t < (end < rows ? end : rows); t++)
        sum += widen(dy[t * dy_stride + i]) * widen(x[t * x_stride + i]) * rstd[t];
    partial[piece * dim + i] = sum;
}

KERNEL(THREADS, 1) gain_sum_kernel(float *dgain, const float *partial, int64_t dim)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= dim) return;
    float sum = 0;
    for (int64_t piece = 0; piece < GAIN_PIECES; piece++)
        sum += partial[piece * dim + i];
    dgain[i] += sum;
}

void rmsnorm_bwd(struct device *dev, struct mat dx_acc, float *dgain_acc, struct mat dy,
                 struct mat x, const float *rstd, const float *gain, int64_t rows, int64_t dim)
{
    LAUNCH_ROWS_SUM(mat_is_wide(dx_acc, dim) && mat_is_wide(dy, dim) && mat_is_wide(x, dim) &&
                        is_wide(gain, dim, dim, 4),
                    rmsnorm_bwd_kernel, rows, elems(dx_acc), dx_acc.stride, elems(dy), dy.stride,
                    elems(x), x.stride, rstd, gain, dim);
    if (!dgain_acc) return;
    unsigned blocks = (unsigned)ceil_div(dim, THREADS);
    LAUNCH(gain_piece_kernel, dim3(blocks, GAIN_PIECES), dim3(THREADS), 0, dev->stream,
           dev->partial, elems(dy), dy.stride, elems(x), x.stride, rstd, rows, dim);
    LAUNCH(gain_sum_kernel, dim3(blocks), dim3(THREADS), 0, dev->stream, dgain_acc, dev->partial,
           dim);
    launched(dev, __func__);
}
