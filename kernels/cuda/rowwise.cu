/* What is done row by row: bound by memory, a block a row, 16 bytes an access. */
#include "dropout.cuh"

#include "device.cuh"

/* Launches kernel<8> where every matrix allows it, else kernel<1>; a block a row. */
#define ROWS(wide, kernel, rows, ...)                                                              \
    do {                                                                                           \
        if (!(rows)) break;                                                                        \
        if (wide)                                                                                  \
            LAUNCH(kernel<8>, dim3((unsigned)(rows)), dim3(THREADS), 0, dev->stream, __VA_ARGS__); \
        else                                                                                       \
            LAUNCH(kernel<1>, dim3((unsigned)(rows)), dim3(THREADS), 0, dev->stream, __VA_ARGS__); \
        launched(dev, __func__);                                                                   \
    } while (0)

/* ---- casts and copies ---- */

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
    ROWS(mat_is_wide(out, cols) && is_wide(in, cols, cols, 4), cast_in_kernel, rows, elems(out),
         out.stride, in, cols);
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
    ROWS(mat_is_wide(in, cols) && is_wide(out, cols, cols, 4), cast_out_kernel, rows, out,
         elems(in), in.stride, cols);
}

/* A block takes THREADS packs of the matrix, whose rows may be short. */
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
    dim3 grid((unsigned)pieces(rows * packs, THREADS));
    if (wide)
        LAUNCH(copy_kernel<8>, grid, dim3(THREADS), 0, dev->stream, elems(out), out.stride,
               elems(in), in.stride, rows, packs);
    else
        LAUNCH(copy_kernel<1>, grid, dim3(THREADS), 0, dev->stream, elems(out), out.stride,
               elems(in), in.stride, rows, packs);
    launched(dev, __func__);
}

void cache_rows(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                int64_t rows)
{
    must(first >= 0 && first + rows <= cache->capacity && cache->type == kernels_cuda.act_type);
    int64_t cols = 2 * cache->kv_heads * cache->head_dim, stride = cache_stride(cache);
    elem *to = (elem *)cache->at + first * stride;
    copy_rows(dev, { (struct act *)to, stride }, kv, rows, cols);
}

/* ---- embedding ---- */

template <int N>
KERNEL(THREADS, 1)
embedding_fwd_kernel(elem *x, int64_t stride, const float *table, const int32_t *id, int64_t dim)
{
    int64_t row = blockIdx.x;
    const float *from = table + id[row] * dim;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p;
        load(p, from + i);
        store(x + row * stride + i, p);
    }
}

template <int N>
KERNEL(THREADS, 1)
embedding_half_kernel(elem *x, int64_t stride, const uint16_t *table, bool is_bf16,
                      const int32_t *id, int64_t dim)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p;
        load_halves(p, table + id[row] * dim + i, is_bf16);
        store(x + row * stride + i, p);
    }
}

void embedding_fwd(struct device *dev, struct mat x, const void *table, enum weight_type type,
                   const int32_t *id, int64_t rows, int64_t dim)
{
    if (type == WEIGHT_F32) {
        ROWS(mat_is_wide(x, dim) && is_wide(table, dim, dim, 4), embedding_fwd_kernel, rows,
             elems(x), x.stride, (const float *)table, id, dim);
        return;
    }
    must(type == WEIGHT_BF16 || type == WEIGHT_F16);
    ROWS(mat_is_wide(x, dim) && is_wide(table, dim, dim, 2), embedding_half_kernel, rows, elems(x),
         x.stride, (const uint16_t *)table, type == WEIGHT_BF16, id, dim);
}

/* A thread a column, rows in order: what two rows add to one id has one order. */
KERNEL(THREADS, 1)
embedding_bwd_kernel(float *dtable, const elem *dx, int64_t stride, const int32_t *id, int64_t rows,
                     int64_t dim)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= dim) return;
    for (int64_t t = 0; t < rows; t++)
        dtable[id[t] * dim + i] += widen(dx[t * stride + i]);
}

void embedding_bwd(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                   int64_t rows, int64_t dim)
{
    LAUNCH(embedding_bwd_kernel, dim3((unsigned)pieces(dim, THREADS)), dim3(THREADS), 0,
           dev->stream, dtable_acc, elems(dx), dx.stride, id, rows, dim);
    launched(dev, __func__);
}

/* ---- RMSNorm ---- */

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

enum { SUM_BYTES = 32 * 8 }; /* what block_sum wants */

#define ROWS_SUM(wide, kernel, rows, ...)                                                          \
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
    ROWS_SUM(mat_is_wide(y, dim) && mat_is_wide(x, dim) && is_wide(gain, dim, dim, 4),
             rmsnorm_fwd_kernel, rows, elems(y), y.stride, rstd, elems(x), x.stride, gain, dim,
             eps);
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

/* partial[piece][i] = Σ over the piece's rows of dy · x · rstd. */
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
    ROWS_SUM(mat_is_wide(dx_acc, dim) && mat_is_wide(dy, dim) && mat_is_wide(x, dim) &&
                 is_wide(gain, dim, dim, 4),
             rmsnorm_bwd_kernel, rows, elems(dx_acc), dx_acc.stride, elems(dy), dy.stride, elems(x),
             x.stride, rstd, gain, dim);
    if (!dgain_acc) return;
    unsigned blocks = (unsigned)pieces(dim, THREADS);
    LAUNCH(gain_piece_kernel, dim3(blocks, GAIN_PIECES), dim3(THREADS), 0, dev->stream,
           dev->partial, elems(dy), dy.stride, elems(x), x.stride, rstd, rows, dim);
    LAUNCH(gain_sum_kernel, dim3(blocks), dim3(THREADS), 0, dev->stream, dgain_acc, dev->partial,
           dim);
    launched(dev, __func__);
}

/* ---- rotary positions ---- */

template <int N>
KERNEL(THREADS, 1)
rope_kernel(elem *out, int64_t out_stride, const elem *x, int64_t stride, const float *cos,
            const float *sin, const int32_t *position, int64_t heads, int64_t half, float direction)
{
    int64_t row = blockIdx.x, at = position[row] * half, packs = half / N;
    for (int64_t i = threadIdx.x; i < heads * packs; i += THREADS) {
        int64_t head = i / packs, j = i % packs * N;
        const elem *low = x + row * stride + head * 2 * half + j;
        elem *to = out + row * out_stride + head * 2 * half + j;
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
}

void rope_apply(struct device *dev, struct mat out, struct mat x, const float *cos,
                const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                int64_t head_dim, int direction)
{
    int64_t half = head_dim / 2;
    ROWS(mat_is_wide(out, half) && mat_is_wide(x, half) && is_wide(cos, half, half, 4) &&
             is_wide(sin, half, half, 4),
         rope_kernel, rows, elems(out), out.stride, elems(x), x.stride, cos, sin, position, heads,
         half, (float)direction);
}

/* ---- SwiGLU ---- */

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
    ROWS(mat_is_wide(s, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols),
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
    ROWS(mat_is_wide(ds, cols) && mat_is_wide(gate, cols) && mat_is_wide(up, cols),
         swiglu_bwd_kernel, rows, elems(ds), ds.stride, elems(gate), gate.stride, elems(up),
         up.stride, cols);
}

/* ---- dropout ---- */

KERNEL(THREADS, 1)
dropout_mask_kernel(uint8_t *keep, const mask m, uint32_t site, int64_t dim, int64_t count)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= count) return;
    uint64_t e = m.first_row * (uint64_t)dim + (uint64_t)n;
    keep[n] = lanes_of(m.key, e / 8, site).of(e % 8) >= m.least_kept;
}

void dropout_mask(struct device *dev, uint8_t *keep, uint32_t site, int64_t rows, int64_t dim,
                  struct dropout drop)
{
    int64_t count = rows * dim;
    if (!count) return;
    LAUNCH(dropout_mask_kernel, dim3((unsigned)pieces(count, THREADS)), dim3(THREADS), 0,
           dev->stream, keep, mask_of(drop), site, dim, count);
    launched(dev, __func__);
}

/* out = mask ⊙ x · scale, or out += it. Rows of out and x are `…_stride` apart; N divides 8. */
template <int N, bool ADDS>
DEVICE void masked_row(elem *out, int64_t out_stride, const elem *x, int64_t x_stride, int64_t dim,
                       const mask &m, uint32_t site)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p, sum;
        load(p, x + row * x_stride + i);
        if (ADDS) load(sum, out + row * out_stride + i);
        apply_mask(p, m, site, (m.first_row + (uint64_t)row) * (uint64_t)dim + (uint64_t)i);
        for (int j = 0; j < N && ADDS; j++)
            p.v[j] += sum.v[j];
        store(out + row * out_stride + i, p);
    }
}

template <int N>
KERNEL(THREADS, 1)
drop_kernel(elem *out, int64_t out_stride, const elem *x, int64_t x_stride, int64_t dim,
            const mask m, uint32_t site)
{
    masked_row<N, false>(out, out_stride, x, x_stride, dim, m, site);
}

template <int N>
KERNEL(THREADS, 1)
add_masked_kernel(elem *out, int64_t out_stride, const elem *x, int64_t x_stride, int64_t dim,
                  const mask m, uint32_t site)
{
    masked_row<N, true>(out, out_stride, x, x_stride, dim, m, site);
}

void drop_rows(struct device *dev, elem *out, struct mat x, uint32_t site, int64_t rows,
               int64_t dim, struct dropout drop)
{
    ROWS(mat_is_wide(x, dim) && is_wide(out, dim, dim, sizeof(elem)), drop_kernel, rows, out, dim,
         elems(x), x.stride, dim, mask_of(drop), site);
}

void add_masked(struct device *dev, struct mat dx, const elem *t, uint32_t site, int64_t rows,
                int64_t dim, struct dropout drop)
{
    ROWS(mat_is_wide(dx, dim) && is_wide(t, dim, dim, sizeof(elem)), add_masked_kernel, rows,
         elems(dx), dx.stride, t, dim, dim, mask_of(drop), site);
}
