/* RMSNorm (Zhang, Sennrich 2019), forward and backward. */
#include "kernels/cuda/rowwise.cuh"

/* Returns 1/√(mean x² + eps) of a row x [dim]. All threads of the block must call it. */
template <int N> DEVICE float rstd_of_row(const elem *x, int64_t dim, float eps, float *scratch)
{
    float sum = 0;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p;
        load(p, x + i);
        for (int j = 0; j < N; j++)
            sum += p.v[j] * p.v[j];
    }
    return 1 / sqrtf(block_sum(sum, scratch) / (float)dim + eps);
}

template <int N>
KERNEL(THREADS, 1)
rmsnorm_fwd_kernel(elem *y, int64_t y_stride, float *rstd, const elem *x, int64_t x_stride,
                   const float *gain, int64_t dim, float eps)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x;
    float r = rstd_of_row<N>(x + row * x_stride, dim, eps, (float *)memory);
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
rmsnorm_add_kernel(elem *y, int64_t y_stride, const elem *x, int64_t x_stride, const elem *residual,
                   int64_t residual_stride, const float *gain, int64_t dim, float eps)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x;
    float r = rstd_of_row<N>(x + row * x_stride, dim, eps, (float *)memory);
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p, g, h;
        load(p, x + row * x_stride + i);
        load(g, gain + i);
        load(h, residual + row * residual_stride + i);
        for (int j = 0; j < N; j++)
            p.v[j] = h.v[j] + p.v[j] * r * g.v[j];
        store(y + row * y_stride + i, p);
    }
}

void rmsnorm_add(struct device *dev, struct mat y, struct mat x, struct mat residual,
                 const float *gain, int64_t rows, int64_t dim, float eps)
{
    must(y.at != x.at);
    LAUNCH_ROWS_SUM(mat_is_wide(y, dim) && mat_is_wide(x, dim) && mat_is_wide(residual, dim) &&
                        is_wide(gain, dim, dim, 4),
                    rmsnorm_add_kernel, rows, elems(y), y.stride, elems(x), x.stride,
                    elems(residual), residual.stride, gain, dim, eps);
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

/* ---- RMSNorm of each head by itself ----
 * A warp has a head of a row, and a lane the columns lane, lane + 32, … of it. */

enum { NORM_COLUMNS = CUDA_HEAD_DIM / 32, NORM_WARPS = THREADS / 32 };

struct head_norm {
    elem *y, *dx;
    const elem *x, *dy;
    int64_t y_stride, dx_stride, x_stride, dy_stride, rows;
    const float *gain;
    int heads, dim;
    float eps;
};

/* Loads this lane's columns of a head, zeros beyond the last. */
DEVICE void load_head(float (&v)[NORM_COLUMNS], const elem *from, int dim)
{
    for (int e = 0; e < NORM_COLUMNS; e++) {
        int i = threadIdx.x % 32 + 32 * e;
        v[e] = i < dim ? widen(from[i]) : 0;
    }
}

DEVICE float rstd_of_head(const float (&x)[NORM_COLUMNS], const head_norm &n)
{
    float sum = 0;
    for (int e = 0; e < NORM_COLUMNS; e++)
        sum += x[e] * x[e];
    return 1 / sqrtf(warp_sum(sum) / (float)n.dim + n.eps);
}

KERNEL(THREADS, 1) heads_fwd_kernel(const head_norm n)
{
    int64_t row = blockIdx.x;
    int head = blockIdx.y * NORM_WARPS + threadIdx.x / 32;
    if (head >= n.heads) return;
    float x[NORM_COLUMNS];
    load_head(x, n.x + row * n.x_stride + head * n.dim, n.dim);
    float rstd = rstd_of_head(x, n);
    elem *y = n.y + row * n.y_stride + head * n.dim;
    for (int e = 0; e < NORM_COLUMNS; e++) {
        int i = threadIdx.x % 32 + 32 * e;
        if (i < n.dim) y[i] = narrow(x[e] * rstd * n.gain[i]);
    }
}

KERNEL(THREADS, 1) heads_bwd_kernel(const head_norm n)
{
    int64_t row = blockIdx.x;
    int head = blockIdx.y * NORM_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (head >= n.heads) return;
    float x[NORM_COLUMNS], dy[NORM_COLUMNS], dot = 0;
    load_head(x, n.x + row * n.x_stride + head * n.dim, n.dim);
    load_head(dy, n.dy + row * n.dy_stride + head * n.dim, n.dim);
    float rstd = rstd_of_head(x, n);
    for (int e = 0; e < NORM_COLUMNS; e++) {
        dy[e] *= lane + 32 * e < n.dim ? n.gain[lane + 32 * e] : 0;
        dot += dy[e] * x[e];
    }
    float mean = warp_sum(dot) * rstd / (float)n.dim;
    elem *dx = n.dx + row * n.dx_stride + head * n.dim;
    for (int e = 0; e < NORM_COLUMNS; e++)
        if (lane + 32 * e < n.dim) dx[lane + 32 * e] = narrow(rstd * (dy[e] - x[e] * rstd * mean));
}

/* partial[piece][i] = Σ over the heads of the piece's rows of dy · x̂. */
KERNEL(THREADS, 1) heads_gain_kernel(float *partial, const head_norm n)
{
    SHARED_DYNAMIC(memory);
    float *part = (float *)memory, sum[NORM_COLUMNS] = {}, x[NORM_COLUMNS], dy[NORM_COLUMNS];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int64_t size = (n.rows + GAIN_PIECES - 1) / GAIN_PIECES, first = blockIdx.x * size;
    int64_t end = first + size < n.rows ? first + size : n.rows;
    for (int64_t i = first * n.heads + warp; i < end * n.heads; i += NORM_WARPS) {
        int64_t row = i / n.heads, at = i % n.heads * n.dim;
        load_head(x, n.x + row * n.x_stride + at, n.dim);
        load_head(dy, n.dy + row * n.dy_stride + at, n.dim);
        float rstd = rstd_of_head(x, n);
        for (int e = 0; e < NORM_COLUMNS; e++)
            sum[e] += dy[e] * x[e] * rstd;
    }
    for (int e = 0; e < NORM_COLUMNS; e++)
        if (lane + 32 * e < n.dim) part[warp * n.dim + lane + 32 * e] = sum[e];
    block_sync();
    for (int i = threadIdx.x; i < n.dim; i += THREADS) {
        float whole = 0;
        for (int w = 0; w < NORM_WARPS; w++)
            whole += part[w * n.dim + i];
        partial[blockIdx.x * n.dim + i] = whole;
    }
}

/* ---- RMSNorm of large heads, with more than CUDA_HEAD_DIM columns, or of entire rows ----
 * A block has a head of a row, and a thread the columns threadIdx.x, threadIdx.x + THREADS, … */

DEVICE float rstd_of_large_head(const elem *x, const head_norm &n, float *scratch)
{
    float sum = 0;
    for (int i = threadIdx.x; i < n.dim; i += THREADS)
        sum += widen(x[i]) * widen(x[i]);
    return 1 / sqrtf(block_sum(sum, scratch) / (float)n.dim + n.eps);
}

KERNEL(THREADS, 1) large_heads_fwd_kernel(const head_norm n)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x, at = (int64_t)blockIdx.y * n.dim;
    const elem *x = n.x + row * n.x_stride + at;
    elem *y = n.y + row * n.y_stride + at;
    float rstd = rstd_of_large_head(x, n, (float *)memory);
    for (int i = threadIdx.x; i < n.dim; i += THREADS)
        y[i] = narrow(widen(x[i]) * rstd * n.gain[i]);
}

KERNEL(THREADS, 1) large_heads_bwd_kernel(const head_norm n)
{
    SHARED_DYNAMIC(memory);
    int64_t row = blockIdx.x, at = (int64_t)blockIdx.y * n.dim;
    const elem *x = n.x + row * n.x_stride + at, *dy = n.dy + row * n.dy_stride + at;
    elem *dx = n.dx + row * n.dx_stride + at;
    float rstd = rstd_of_large_head(x, n, (float *)memory), dot = 0;
    for (int i = threadIdx.x; i < n.dim; i += THREADS)
        dot += n.gain[i] * widen(dy[i]) * widen(x[i]);
    float mean = block_sum(dot, (float *)memory) * rstd / (float)n.dim;
    for (int i = threadIdx.x; i < n.dim; i += THREADS)
        dx[i] = narrow(rstd * (n.gain[i] * widen(dy[i]) - widen(x[i]) * rstd * mean));
}

/* partial[piece][i] = Σ over the heads of the piece's rows of dy · x̂. */
KERNEL(THREADS, 1) large_heads_gain_kernel(float *partial, const head_norm n)
{
    SHARED_DYNAMIC(memory);
    float *sum = partial + (int64_t)blockIdx.x * n.dim;
    int64_t size = (n.rows + GAIN_PIECES - 1) / GAIN_PIECES, first = blockIdx.x * size;
    int64_t end = first + size < n.rows ? first + size : n.rows;
    for (int i = threadIdx.x; i < n.dim; i += THREADS)
        sum[i] = 0;
    for (int64_t j = first * n.heads; j < end * n.heads; j++) {
        int64_t row = j / n.heads, at = j % n.heads * n.dim;
        const elem *x = n.x + row * n.x_stride + at, *dy = n.dy + row * n.dy_stride + at;
        float rstd = rstd_of_large_head(x, n, (float *)memory);
        for (int i = threadIdx.x; i < n.dim; i += THREADS)
            sum[i] += widen(dy[i]) * widen(x[i]) * rstd;
    }
}

static bool is_large_head(const head_norm &n) { return n.dim > 32 * NORM_COLUMNS; }

static head_norm heads_of(struct mat x, const float *gain, int64_t rows, int64_t heads,
                          int64_t head_dim, float eps)
{
    must(head_dim <= INT32_MAX);
    head_norm n = {};
    n.x = elems(x), n.x_stride = x.stride;
    n.gain = gain;
    n.rows = rows, n.heads = (int)heads, n.dim = (int)head_dim;
    n.eps = eps;
    return n;
}

/* Returns the grid of a launch over all heads of all rows. */
static dim3 heads_grid(const head_norm &n)
{
    return dim3((unsigned)n.rows,
                (unsigned)(is_large_head(n) ? n.heads : ceil_div(n.heads, NORM_WARPS)));
}

void rmsnorm_heads_fwd(struct device *dev, struct mat y, struct mat x, const float *gain,
                       int64_t rows, int64_t heads, int64_t head_dim, float eps)
{
    must(y.at != x.at);
    head_norm n = heads_of(x, gain, rows, heads, head_dim, eps);
    n.y = elems(y), n.y_stride = y.stride;
    if (!rows) return;
    if (is_large_head(n))
        LAUNCH(large_heads_fwd_kernel, heads_grid(n), dim3(THREADS), SUM_BYTES, dev->stream, n);
    else
        LAUNCH(heads_fwd_kernel, heads_grid(n), dim3(THREADS), 0, dev->stream, n);
    launched(dev, __func__);
}

void rmsnorm_heads_bwd(struct device *dev, struct mat dx, float *dgain_acc, struct mat dy,
                       struct mat x, const float *gain, int64_t rows, int64_t heads,
                       int64_t head_dim, float eps)
{
    head_norm n = heads_of(x, gain, rows, heads, head_dim, eps);
    n.dx = elems(dx), n.dx_stride = dx.stride;
    n.dy = elems(dy), n.dy_stride = dy.stride;
    if (!rows) return;
    /* The gradient of the gain comes first, because dx may overwrite x. */
    if (dgain_acc) {
        if (is_large_head(n))
            LAUNCH(large_heads_gain_kernel, dim3(GAIN_PIECES), dim3(THREADS), SUM_BYTES,
                   dev->stream, dev->partial, n);
        else
            LAUNCH(heads_gain_kernel, dim3(GAIN_PIECES), dim3(THREADS),
                   NORM_WARPS * (size_t)head_dim * sizeof(float), dev->stream, dev->partial, n);
        LAUNCH(gain_sum_kernel, dim3((unsigned)ceil_div(head_dim, THREADS)), dim3(THREADS), 0,
               dev->stream, dgain_acc, dev->partial, head_dim);
    }
    if (is_large_head(n))
        LAUNCH(large_heads_bwd_kernel, heads_grid(n), dim3(THREADS), SUM_BYTES, dev->stream, n);
    else
        LAUNCH(heads_bwd_kernel, heads_grid(n), dim3(THREADS), 0, dev->stream, n);
    launched(dev, __func__);
}
