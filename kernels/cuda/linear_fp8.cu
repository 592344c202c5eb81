/* Groups of linear layers whose frozen weights are multiplied in fp8 (lib/common/fp8.h).
 *
 * cuBLASLt multiplies e4m3 numbers only if both operands have the index of the sum as the index of
 * their columns. So a slot has q(W) [outs, in] for the forward, and the transposed q'(W) [in, outs]
 * for the backward. Both are made from the weights as they are stored, in two passes: one for the
 * largest magnitudes of rows and columns, one that converts. The product is written to the result
 * in elem; another kernel then multiplies it by the scales. Memory bandwidth limits all kernels
 * here.
 */
#define FP8_FUNCTION DEVICE
#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/nf4.cuh"
#include "lib/common/fp8.h"

/* A block reads TILE_ROWS × TILE_COLUMNS weights. A warp reads a whole row of them at a time, eight
 * weights a thread. */
enum { WARPS = THREADS / 32, TILE_ROWS = 64, TILE_COLUMNS = 256, TRANSPOSED = 16 };

struct fp8_source {
    nf4_weight nf4;
    const void *weight;
    enum dtype type;
    int64_t out, in;
};

/* The slot, from the first row of one linear layer on. */
struct fp8_parts {
    uint8_t *rows, *columns; /* [out, in] and [in, outs] */
    float *row_scales, *column_scales;
    int64_t outs;
};

/* Loads eight weights as f32, from element e on, which is a multiple of 8. */
DEVICE void load_weights(float v[8], const fp8_source &w, const nf4_tables *tables, int64_t e)
{
    pack<8> p;
    if (w.type == DTYPE_NF4) {
        float absmax = absmax_of(w.nf4, tables->map, e);
        look_up(v, *(const uint32_t *)(w.nf4.codes + e / 2), tables->value);
        for (int j = 0; j < 8; j++)
            v[j] = mul_rn(v[j], absmax);
        return;
    }
    if (w.type == DTYPE_F32)
        load(p, (const float *)w.weight + e);
    else
        load_halves(p, (const uint16_t *)w.weight + e, w.type == DTYPE_BF16);
    for (int j = 0; j < 8; j++)
        v[j] = p.v[j];
}

/* Raises the elements of row_scales and column_scales, as bits, to the largest magnitudes. */
KERNEL(THREADS, 1) fp8_largest_kernel(const fp8_parts to, const fp8_source w)
{
    SHARED_DYNAMIC(memory);
    nf4_tables *tables = (nf4_tables *)memory;
    /* warp_max [WARPS, TILE_COLUMNS] */
    uint32_t *warp_max = (uint32_t *)(tables + 1), of_column[8] = {};
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t first = (int64_t)blockIdx.x * TILE_COLUMNS, col = first + lane * 8;
    fill_tables<THREADS>(tables);
    for (int r = warp; r < TILE_ROWS; r += WARPS) {
        int64_t row = (int64_t)blockIdx.y * TILE_ROWS + r;
        uint32_t of_row = 0;
        if (row < w.out && col < w.in) {
            float v[8];
            load_weights(v, w, tables, row * w.in + col);
            for (int j = 0; j < 8; j++) {
                uint32_t bits = fp8_magnitude(v[j]);
                of_row = larger(of_row, bits);
                of_column[j] = larger(of_column[j], bits);
            }
        }
        of_row = warp_largest(of_row);
        if (row < w.out && !lane) atomic_max((uint32_t *)to.row_scales + row, of_row);
    }
    for (int j = 0; j < 8; j++)
        warp_max[warp * TILE_COLUMNS + lane * 8 + j] = of_column[j];
    block_sync();
    uint32_t largest = 0;
    for (int i = 0; i < WARPS; i++)
        largest = larger(largest, warp_max[i * TILE_COLUMNS + threadIdx.x]);
    if (first + threadIdx.x < w.in)
        atomic_max((uint32_t *)to.column_scales + first + threadIdx.x, largest);
}

KERNEL(THREADS, 1) fp8_scales_kernel(float *scales, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) scales[i] = fp8_scale(scales[i]);
}

DEVICE void store_fp8(uint8_t *to, const float v[8])
{
    uint2 words = { 0, 0 };
    for (int j = 0; j < 4; j++) {
        words.x |= (uint32_t)fp8_from_float(v[j]) << 8 * j;
        words.y |= (uint32_t)fp8_from_float(v[j + 4]) << 8 * j;
    }
    *(uint2 *)to = words;
}

/* Converts weights. The transposed ones go through shared memory, so that a thread can write 16
 * neighbouring bytes. */
KERNEL(THREADS, 1) fp8_weights_kernel(const fp8_parts to, const fp8_source w)
{
    SHARED_DYNAMIC(memory);
    nf4_tables *tables = (nf4_tables *)memory;
    uint8_t *tile = (uint8_t *)(tables + 1); /* [TILE_ROWS, TILE_COLUMNS] */
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t first = (int64_t)blockIdx.x * TILE_COLUMNS, col = first + lane * 8;
    int64_t first_row = (int64_t)blockIdx.y * TILE_ROWS;
    float scales[8];
    fill_tables<THREADS>(tables);
    for (int j = 0; j < 8 && col < w.in; j++)
        scales[j] = to.column_scales[col + j];
    for (int r = warp; r < TILE_ROWS && col < w.in; r += WARPS) {
        int64_t row = first_row + r;
        float v[8], scaled[8];
        if (row >= w.out) break;
        load_weights(v, w, tables, row * w.in + col);
        float scale = to.row_scales[row];
        for (int j = 0; j < 8; j++)
            scaled[j] = v[j] / scale;
        store_fp8(to.rows + row * w.in + col, scaled);
        for (int j = 0; j < 8; j++)
            scaled[j] = v[j] / scales[j];
        store_fp8(tile + r * TILE_COLUMNS + lane * 8, scaled);
    }
    block_sync();
    col = first + threadIdx.x;
    for (int r = 0; r < TILE_ROWS && first_row + r < w.out && col < w.in; r += TRANSPOSED) {
        uint32_t word[4] = {};
        for (int i = 0; i < TRANSPOSED; i++)
            word[i / 4] |= (uint32_t)tile[(r + i) * TILE_COLUMNS + threadIdx.x] << 8 * (i % 4);
        *(uint4 *)(to.columns + col * to.outs + first_row + r) =
            make_uint4(word[0], word[1], word[2], word[3]);
    }
}

/* Writes the rows of up to MAX_GROUP matrices, side by side, as e4m3 numbers, and their scales. */
struct fp8_rows {
    const elem *at[MAX_GROUP];
    int64_t stride[MAX_GROUP];
    int cols[MAX_GROUP], count, width;
};

template <int N> KERNEL(THREADS, 1) fp8_rows_kernel(uint8_t *to, float *scales, const fp8_rows from)
{
    SHARED_DYNAMIC(memory);
    uint32_t *warp_max = (uint32_t *)memory, largest = 0; /* warp_max [WARPS] */
    int64_t row = blockIdx.x;
    to += row * from.width;
#pragma unroll
    for (int m = 0; m < MAX_GROUP; m++) {
        if (m >= from.count) break;
        for (int i = threadIdx.x * N; i < from.cols[m]; i += THREADS * N) {
            pack<N> p;
            load(p, from.at[m] + row * from.stride[m] + i);
            for (int j = 0; j < N; j++)
                largest = larger(largest, fp8_magnitude(p.v[j]));
        }
    }
    largest = warp_largest(largest);
    if (threadIdx.x % 32 == 0) warp_max[threadIdx.x / 32] = largest;
    block_sync();
    for (int i = 0; i < WARPS; i++)
        largest = larger(largest, warp_max[i]);
    float scale = fp8_scale(bits_as_float(largest));
    if (threadIdx.x == 0) scales[row] = scale;
#pragma unroll
    for (int m = 0; m < MAX_GROUP; m++) {
        if (m >= from.count) break;
        for (int i = threadIdx.x * N; i < from.cols[m]; i += THREADS * N) {
            pack<N> p;
            load(p, from.at[m] + row * from.stride[m] + i);
            float v[8] = {};
            for (int j = 0; j < N; j++)
                v[j] = p.v[j] / scale;
            if (N == 8)
                store_fp8(to + i, v);
            else
                to[i] = fp8_from_float(v[0]);
        }
        to += from.cols[m];
    }
}

/* Computes y = residual + bias + y · scales[row] · column_scales[column]. */
template <int N>
KERNEL(THREADS, 1)
fp8_scale_kernel(elem *y, int64_t y_stride, const float *scales, const float *column_scales,
                 const elem *residual, int64_t residual_stride, int cols, const biases b)
{
    int64_t row = blockIdx.x;
    float scale = scales[row];
    for (int i = threadIdx.x * N; i < cols; i += THREADS * N) {
        pack<N> p, of_column, added = {}, before = {};
        const float *bias = b.has ? bias_at(b, i) : NULL;
        load(p, y + row * y_stride + i);
        load(of_column, column_scales + i);
        if (bias) load(added, bias);
        if (residual) load(before, residual + row * residual_stride + i);
        for (int j = 0; j < N; j++)
            p.v[j] = p.v[j] * scale * of_column.v[j] + (added.v[j] + before.v[j]);
        store(y + row * y_stride + i, p);
    }
}

/* ---- host ---- */

static fp8_parts parts_of(const struct device *dev, const struct group *g)
{
    fp8_parts to = {};
    uint8_t *at = (uint8_t *)dev->slot[g->slot].weight;
    int64_t in = g->at[0].in;
    for (int i = 0; i < g->count; i++) {
        must(g->at[i].out % FP8_MULTIPLE == 0 && in % FP8_MULTIPLE == 0);
        to.outs += g->at[i].out;
    }
    struct fp8_layout l = fp8_layout(to.outs, in, 0, sizeof(elem));
    to.rows = at;
    to.columns = at + l.columns;
    to.row_scales = (float *)(at + l.scales);
    to.column_scales = to.row_scales + to.outs;
    return to;
}

void fp8_fill_weights(struct device *dev, const struct group *g)
{
    fp8_parts whole = parts_of(dev, g);
    int64_t in = g->at[0].in, scales = whole.outs + in;
    must(dev->shape.has_fp8 && dev->shape.has_backward);
    device_zero(dev, whole.row_scales, (size_t)scales * sizeof(float));
    for (int converts = 0; converts < 2; converts++) {
        fp8_parts to = whole;
        for (int i = 0; i < g->count; i++) {
            const struct linear *l = &g->at[i];
            const fp8_source from = { { (const uint8_t *)l->weight, l->absmax, l->absmax_scale,
                                        l->offset },
                                      l->weight,
                                      l->type,
                                      l->out,
                                      in };
            dim3 grid((unsigned)ceil_div(in, TILE_COLUMNS), (unsigned)ceil_div(l->out, TILE_ROWS));
            if (converts)
                LAUNCH(fp8_weights_kernel, grid, dim3(THREADS),
                       sizeof(nf4_tables) + TILE_ROWS * TILE_COLUMNS, dev->stream, to, from);
            else
                LAUNCH(fp8_largest_kernel, grid, dim3(THREADS),
                       sizeof(nf4_tables) + WARPS * TILE_COLUMNS * sizeof(uint32_t), dev->stream,
                       to, from);
            to.rows += l->out * in;
            to.columns += l->out;
            to.row_scales += l->out;
        }
        if (!converts)
            LAUNCH(fp8_scales_kernel, dim3((unsigned)ceil_div(scales, THREADS)), dim3(THREADS), 0,
                   dev->stream, whole.row_scales, scales);
    }
    launched(dev, "linear_prepare");
}

static void convert_rows(struct device *dev, const fp8_rows &from, bool wide, int64_t rows)
{
    must(rows <= dev->shape.chunk);
    if (wide)
        LAUNCH(fp8_rows_kernel<8>, dim3((unsigned)rows), dim3(THREADS), WARPS * sizeof(uint32_t),
               dev->stream, dev->fp8, dev->fp8_scales, from);
    else
        LAUNCH(fp8_rows_kernel<1>, dim3((unsigned)rows), dim3(THREADS), WARPS * sizeof(uint32_t),
               dev->stream, dev->fp8, dev->fp8_scales, from);
    launched(dev, "linear in fp8");
}

/* Computes d [rows, n] = dev->fp8 [rows, k] · bᵀ, b [n, k]. */
static void multiply(struct device *dev, struct mat d, const uint8_t *b, int64_t rows, int64_t n,
                     int64_t k)
{
    struct gemm p = {};
    p.b_transposed = p.is_fp8 = true;
    p.m = rows;
    p.n = n;
    p.k = p.lda = p.ldb = k;
    p.alpha = 1;
    p.a = (const elem *)dev->fp8;
    p.b = (const elem *)b;
    p.c = p.d = d.at;
    p.ldc = p.ldd = d.stride;
    gemm(dev, &p);
}

void fp8_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
             struct mat residual, int64_t rows)
{
    bool wide;
    int64_t in = g->at[0].in;
    const fp8_parts w = parts_of(dev, g);
    const biases b = biases_of(g, &wide);
    const fp8_rows from = { { elems(x) }, { x.stride }, { (int)in }, 1, (int)in };
    must(!residual.at || residual.at != y.at);
    if (!rows) return;
    convert_rows(dev, from, mat_is_wide(x, in), rows);
    multiply(dev, y, w.rows, rows, w.outs, in);
    LAUNCH_ROWS(wide && mat_is_wide(y, w.outs) && mat_is_wide(residual, w.outs), fp8_scale_kernel,
                rows, elems(y), y.stride, dev->fp8_scales, w.row_scales, elems(residual),
                residual.stride, (int)w.outs, b);
}

void fp8_bwd_input(struct device *dev, struct mat dx, const struct mat *dy, const struct group *g,
                   int64_t rows)
{
    bool wide = true;
    int64_t in = g->at[0].in;
    const fp8_parts w = parts_of(dev, g);
    fp8_rows from = { {}, {}, {}, g->count, (int)w.outs };
    const elem *none = NULL;
    for (int i = 0; i < g->count; i++) {
        from.at[i] = elems(dy[i]), from.stride[i] = dy[i].stride, from.cols[i] = (int)g->at[i].out;
        wide = wide && mat_is_wide(dy[i], g->at[i].out);
    }
    if (!rows) return;
    convert_rows(dev, from, wide, rows);
    multiply(dev, dx, w.columns, rows, in, w.outs);
    LAUNCH_ROWS(mat_is_wide(dx, in), fp8_scale_kernel, rows, elems(dx), dx.stride, dev->fp8_scales,
                w.column_scales, none, (int64_t)0, (int)in, biases{});
}
