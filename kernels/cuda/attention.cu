/* Causal attention over segments, forward and backward.
 *
 * Tensor cores where elements have 16 bits and a head has 32, 64 or 128 columns: FlashAttention-2
 * (Dao 2023) with spans for a mask. A warp owns 16 rows of scores; softmax and all sums are
 * f32. The backward is two passes, one for dQ and one for dK and dV, so that nothing is added
 * atomically. Any other shape takes the plain kernels, a warp a row.
 */
#include "tile.cuh"

#include "cuda.cuh"

#include <cmath>

static const float log2_e = 1.4426950408889634f;
enum { PLAIN_COLUMNS = 8, PLAIN_WARPS = 4 }; /* a lane's columns: heads of up to 256 */

struct attention {
    const elem *q, *k, *v, *dout;
    elem *o, *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride, dout_stride, o_stride, dq_stride, dk_stride, dv_stride;
    float *lse;
    const float *delta;
    const int32_t *first, *second;
    int split, past, rows, heads, kv_heads, head_dim;
    float scale;
};

DEVICE const int32_t *list_of(const attention &a, int head)
{
    return head < a.split ? a.first : a.second;
}

DEVICE float warp_sum(float x)
{
    for (int mask = 16; mask; mask /= 2)
        x += shuffle_xor(x, mask);
    return x;
}

/* delta[h, t] = o[t] · dout[t]; a warp each. */
KERNEL(PLAIN_WARPS * 32, 1)
delta_kernel(const attention a, float *delta)
{
    int row = blockIdx.x, head = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32;
    if (head >= a.heads) return;
    float sum = 0;
    for (int i = threadIdx.x % 32; i < a.head_dim; i += 32)
        sum += widen(a.o[row * a.o_stride + head * a.head_dim + i]) *
               widen(a.dout[row * a.dout_stride + head * a.head_dim + i]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) delta[(int64_t)head * a.rows + row] = sum;
}

/* ---- plain kernels: a lane has the columns lane, lane + 32, … of its head ---- */

struct columns {
    float v[PLAIN_COLUMNS];
};

DEVICE columns load_columns(const elem *row, int head_dim)
{
    columns c;
    for (int e = 0; e < PLAIN_COLUMNS; e++) {
        int i = threadIdx.x % 32 + 32 * e;
        c.v[e] = i < head_dim ? widen(row[i]) : 0;
    }
    return c;
}

DEVICE void store_columns(elem *row, const columns &c, int head_dim, float factor)
{
    for (int e = 0; e < PLAIN_COLUMNS; e++) {
        int i = threadIdx.x % 32 + 32 * e;
        if (i < head_dim) row[i] = narrow(c.v[e] * factor);
    }
}

DEVICE float dot(const columns &a, const columns &b)
{
    float sum = 0;
    for (int e = 0; e < PLAIN_COLUMNS; e++)
        sum += a.v[e] * b.v[e];
    return warp_sum(sum);
}

KERNEL(PLAIN_WARPS * 32, 1)
plain_fwd_kernel(const attention a)
{
    int row = blockIdx.x, head = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32, c = a.head_dim;
    if (head >= a.heads) return;
    int kv = head / (a.heads / a.kv_heads);
    columns q = load_columns(a.q + row * a.q_stride + head * c, c), sum = {};
    float top = -INFINITY, total = 0;
    for (int j = list_of(a, head)[row]; j <= a.past + row; j++) {
        columns k = load_columns(a.k + j * a.k_stride + kv * c, c);
        columns v = load_columns(a.v + j * a.v_stride + kv * c, c);
        float score = dot(q, k) * a.scale, higher = fmaxf(top, score);
        float shrink = expf(top - higher), weight = expf(score - higher);
        for (int e = 0; e < PLAIN_COLUMNS; e++)
            sum.v[e] = sum.v[e] * shrink + weight * v.v[e];
        total = total * shrink + weight;
        top = higher;
    }
    store_columns(a.o + row * a.o_stride + head * c, sum, c, 1 / total);
    if (threadIdx.x % 32 == 0) a.lse[(int64_t)head * a.rows + row] = top + logf(total);
}

KERNEL(PLAIN_WARPS * 32, 1)
plain_dq_kernel(const attention a)
{
    int row = blockIdx.x, head = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32, c = a.head_dim;
    if (head >= a.heads) return;
    int kv = head / (a.heads / a.kv_heads);
    columns q = load_columns(a.q + row * a.q_stride + head * c, c), dq = {};
    columns d = load_columns(a.dout + row * a.dout_stride + head * c, c);
    float lse = a.lse[(int64_t)head * a.rows + row];
    float delta = a.delta[(int64_t)head * a.rows + row];
    for (int j = list_of(a, head)[row]; j <= row; j++) {
        columns k = load_columns(a.k + j * a.k_stride + kv * c, c);
        columns v = load_columns(a.v + j * a.v_stride + kv * c, c);
        float weight = expf(dot(q, k) * a.scale - lse), ds = weight * (dot(d, v) - delta);
        for (int e = 0; e < PLAIN_COLUMNS; e++)
            dq.v[e] += ds * k.v[e];
    }
    store_columns(a.dq + row * a.dq_stride + head * c, dq, c, a.scale);
}

/* A warp a key: reads no other key, so its gradients may take its place. */
KERNEL(PLAIN_WARPS * 32, 1)
plain_dkdv_kernel(const attention a)
{
    int key = blockIdx.x, kv = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32, c = a.head_dim;
    if (kv >= a.kv_heads) return;
    int share = a.heads / a.kv_heads;
    columns k = load_columns(a.k + key * a.k_stride + kv * c, c), dk = {};
    columns v = load_columns(a.v + key * a.v_stride + kv * c, c), dv = {};
    for (int head = kv * share; head < (kv + 1) * share; head++) {
        const int32_t *start = list_of(a, head);
        for (int t = key; t < a.rows && start[t] <= key; t++) {
            columns q = load_columns(a.q + t * a.q_stride + head * c, c);
            columns d = load_columns(a.dout + t * a.dout_stride + head * c, c);
            float weight = expf(dot(q, k) * a.scale - a.lse[(int64_t)head * a.rows + t]);
            float ds = weight * (dot(d, v) - a.delta[(int64_t)head * a.rows + t]);
            for (int e = 0; e < PLAIN_COLUMNS; e++) {
                dv.v[e] += weight * d.v[e];
                dk.v[e] += ds * q.v[e];
            }
        }
    }
    store_columns(a.dk + key * a.dk_stride + kv * c, dk, c, a.scale);
    store_columns(a.dv + key * a.dv_stride + kv * c, dv, c, 1);
}

#ifndef ELEM_F32
/* ---- tensor cores ----
 * Lane 4g + t of a warp holds of a 16 × 8 block of scores the rows g and g + 8, columns 2t and
 * 2t + 1. */

/* s[16, 8 · N] += rows row … row + 15 of A times the rows of B. */
template <int C, int N> DEVICE void times_rows(float (*s)[4], elem *a, int row, elem *b)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < C; k += 16) {
        uint32_t x[4], y[4];
        ldmatrix4(x, tile_at<C>(a, row + lane % 16, k + lane / 16 * 8));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            ldmatrix4(y, tile_at<C>(b, n * 8 + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8));
            mma(s[n], x, y[0], y[1]);
            mma(s[n + 1], x, y[2], y[3]);
        }
    }
}

/* sum[16, C] += p[16, 8 · N], rounded to elements, times B [8 · N, C]. */
template <int C, int N> DEVICE void times_columns(float (*sum)[4], const float (*p)[4], elem *b)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t x[4] = { pack2(p[n][0], p[n][1]), pack2(p[n][2], p[n][3]),
                          pack2(p[n + 1][0], p[n + 1][1]), pack2(p[n + 1][2], p[n + 1][3]) };
#pragma unroll
        for (int c = 0; c < C / 8; c += 2) {
            uint32_t y[4];
            ldmatrix4_trans(y, tile_at<C>(b, n * 8 + lane % 16, c * 8 + lane / 16 * 8));
            mma(sum[c], x, y[0], y[1]);
            mma(sum[c + 1], x, y[2], y[3]);
        }
    }
}

/* Row g (half 0) or g + 8 (half 1) of a warp's sums to memory. */
template <int C> DEVICE void put_row(elem *to, const float (*sum)[4], int half, float factor)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int c = 0; c < C / 8; c++)
        ((uint32_t *)to)[c * 4 + t] =
            pack2(sum[c][2 * half] * factor, sum[c][2 * half + 1] * factor);
}

/* A block owns WARPS · 16 queries of a head and goes over the keys in tiles of KEYS. V comes
 * while Q K^T is computed, the next K while P V is. Long rows are started first. */
template <int C, int KEYS, int WARPS>
KERNEL(WARPS * 32, C == 128 ? 2 : 1)
fwd_kernel(const attention a)
{
    constexpr int QUERIES = WARPS * 16, N = KEYS / 8;
    SHARED_DYNAMIC(memory);
    elem *q = (elem *)memory, *k = q + QUERIES * C, *v = k + KEYS * C;
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int head = blockIdx.y, kv = head / (a.heads / a.kv_heads);
    const int32_t *start = list_of(a, head);
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * QUERIES;
    int last = min(first + QUERIES, a.rows) - 1, all = a.past + a.rows;
    int tile = start[first] / KEYS, last_tile = (a.past + last) / KEYS;
    int clear = start[last]; /* from here on keys are in every row's span, but for causality */
    const elem *keys = a.k + kv * C, *values = a.v + kv * C;
    int row[2], begin[2];
    float top[2], total[2], sum[C / 8][4] = {};
    for (int h = 0; h < 2; h++) {
        row[h] = first + warp * 16 + h * 8 + g;
        begin[h] = start[min(row[h], a.rows - 1)];
        top[h] = -INFINITY;
        total[h] = 0;
    }
    fetch<C, QUERIES, WARPS * 32>(q, a.q + head * C, a.q_stride, first, a.rows);
    fetch<C, KEYS, WARPS * 32>(k, keys, a.k_stride, tile * KEYS, all);
    copy_commit();
    float scale2 = a.scale * log2_e;
    for (; tile <= last_tile; tile++) {
        copy_wait<0>();
        block_sync(); /* this K is there, and all are done with the last V */
        fetch<C, KEYS, WARPS * 32>(v, values, a.v_stride, tile * KEYS, all);
        copy_commit();
        float s[N][4] = {};
        times_rows<C, N>(s, q, warp * 16, k);
        copy_wait<0>();
        block_sync(); /* V is there, and all are done with this K */
        if (tile < last_tile) {
            fetch<C, KEYS, WARPS * 32>(k, keys, a.k_stride, (tile + 1) * KEYS, all);
            copy_commit();
        }
        if (tile * KEYS + KEYS - 1 > a.past + first || tile * KEYS < clear)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int key = tile * KEYS + n * 8 + t * 2 + e % 2;
                    if (key > a.past + row[e / 2] || key < begin[e / 2]) s[n][e] = -INFINITY;
                }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float higher = top[h], part = 0;
#pragma unroll
            for (int n = 0; n < N; n++)
                higher = fmaxf(higher, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
            higher = fmaxf(higher, shuffle_xor(higher, 1));
            higher = fmaxf(higher, shuffle_xor(higher, 2));
            float base = higher == -INFINITY ? 0 : higher * scale2;
            float shrink = exp2_fast(top[h] * scale2 - base);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 2 * h; e < 2 * h + 2; e++) {
                    s[n][e] = exp2_fast(s[n][e] * scale2 - base);
                    part += s[n][e];
                }
            top[h] = higher;
            total[h] = total[h] * shrink + part;
#pragma unroll
            for (int c = 0; c < C / 8; c++) {
                sum[c][2 * h] *= shrink;
                sum[c][2 * h + 1] *= shrink;
            }
        }
        times_columns<C, N>(sum, s, v);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        total[h] += shuffle_xor(total[h], 1);
        total[h] += shuffle_xor(total[h], 2);
        if (row[h] >= a.rows) continue;
        put_row<C>(a.o + row[h] * a.o_stride + head * C, sum, h, 1 / total[h]);
        if (t == 0) a.lse[(int64_t)head * a.rows + row[h]] = top[h] * a.scale + logf(total[h]);
    }
}

/* The forward's loop with P from lse: dP = dO V^T, dS = P ⊙ (dP − delta), dQ += dS K. */
template <int C, int KEYS, int WARPS, int STAGES> KERNEL(WARPS * 32, 1) dq_kernel(const attention a)
{
    constexpr int QUERIES = WARPS * 16, N = KEYS / 8;
    SHARED_DYNAMIC(memory);
    elem *q = (elem *)memory, *d = q + QUERIES * C, *k = d + QUERIES * C;
    elem *v = k + STAGES * KEYS * C;
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int head = blockIdx.y, kv = head / (a.heads / a.kv_heads);
    const int32_t *start = list_of(a, head);
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * QUERIES;
    int last = min(first + QUERIES, a.rows) - 1;
    int tile = start[first] / KEYS, last_tile = last / KEYS, clear = start[last];
    const elem *keys = a.k + kv * C, *values = a.v + kv * C;
    int row[2], begin[2];
    float lse[2], delta[2], sum[C / 8][4] = {};
    for (int h = 0; h < 2; h++) {
        row[h] = first + warp * 16 + h * 8 + g;
        int there = min(row[h], a.rows - 1);
        begin[h] = start[there];
        lse[h] = a.lse[(int64_t)head * a.rows + there] * log2_e;
        delta[h] = a.delta[(int64_t)head * a.rows + there];
    }
    fetch<C, QUERIES, WARPS * 32>(q, a.q + head * C, a.q_stride, first, a.rows);
    fetch<C, QUERIES, WARPS * 32>(d, a.dout + head * C, a.dout_stride, first, a.rows);
    fetch<C, KEYS, WARPS * 32>(k, keys, a.k_stride, tile * KEYS, a.rows);
    fetch<C, KEYS, WARPS * 32>(v, values, a.v_stride, tile * KEYS, a.rows);
    copy_commit();
    float scale2 = a.scale * log2_e;
    for (int stage = 0; tile <= last_tile; tile++, stage = (stage + 1) % STAGES) {
        elem *this_k = k + stage * KEYS * C, *this_v = v + stage * KEYS * C;
        copy_wait<0>();
        block_sync(); /* this tile is there, and with two stages all are done with the other */
        if (STAGES == 2 && tile < last_tile) {
            fetch<C, KEYS, WARPS * 32>(k + (1 - stage) * KEYS * C, keys, a.k_stride,
                                       (tile + 1) * KEYS, a.rows);
            fetch<C, KEYS, WARPS * 32>(v + (1 - stage) * KEYS * C, values, a.v_stride,
                                       (tile + 1) * KEYS, a.rows);
            copy_commit();
        }
        float s[N][4] = {}, ds[N][4] = {};
        times_rows<C, N>(s, q, warp * 16, this_k);
        times_rows<C, N>(ds, d, warp * 16, this_v);
        bool is_masked = tile * KEYS + KEYS - 1 > first || tile * KEYS < clear;
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int key = tile * KEYS + n * 8 + t * 2 + e % 2;
                float p = exp2_fast(s[n][e] * scale2 - lse[e / 2]);
                if (is_masked && (key > row[e / 2] || key < begin[e / 2])) p = 0;
                ds[n][e] = p * (ds[n][e] - delta[e / 2]);
            }
        times_columns<C, N>(sum, ds, this_k);
        if (STAGES == 1) {
            block_sync(); /* all are done with this tile */
            if (tile < last_tile) {
                fetch<C, KEYS, WARPS * 32>(k, keys, a.k_stride, (tile + 1) * KEYS, a.rows);
                fetch<C, KEYS, WARPS * 32>(v, values, a.v_stride, (tile + 1) * KEYS, a.rows);
                copy_commit();
            }
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++)
        if (row[h] < a.rows) put_row<C>(a.dq + row[h] * a.dq_stride + head * C, sum, h, a.scale);
}

/* The last query that may see a key up to `key`: lists do not decrease. */
DEVICE int last_query(const int32_t *start, int rows, int key)
{
    int low = 0, high = rows - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (start[middle] <= key)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* A block owns WARPS · 16 keys of a key/value head and goes over the heads that read it and
 * their queries in tiles of QUERIES, on transposed scores, whose softmax is at once the left
 * side of the next product: dV += P^T dO, dK += dS^T Q. */
template <int C, int QUERIES, int WARPS> KERNEL(WARPS * 32, 1) dkdv_kernel(const attention a)
{
    constexpr int KEYS = WARPS * 16, N = QUERIES / 8;
    SHARED_DYNAMIC(memory);
    elem *k = (elem *)memory, *v = k + KEYS * C, *q = v + KEYS * C, *d = q + 2 * QUERIES * C;
    float *lse = (float *)(d + 2 * QUERIES * C), *delta = lse + QUERIES;
    int32_t *begin = (int32_t *)(delta + QUERIES);
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int kv = blockIdx.y, share = a.heads / a.kv_heads;
    int first = blockIdx.x * KEYS, last = min(first + KEYS, a.rows) - 1;
    float dk[C / 8][4] = {}, dv[C / 8][4] = {}, scale2 = a.scale * log2_e;
    fetch<C, KEYS, WARPS * 32>(k, a.k + kv * C, a.k_stride, first, a.rows);
    fetch<C, KEYS, WARPS * 32>(v, a.v + kv * C, a.v_stride, first, a.rows);
    copy_commit();
    for (int head = kv * share; head < (kv + 1) * share; head++) {
        const int32_t *start = list_of(a, head);
        const elem *queries = a.q + head * C, *gradients = a.dout + head * C;
        int tile = first / QUERIES, last_tile = last_query(start, a.rows, last) / QUERIES;
        fetch<C, QUERIES, WARPS * 32>(q, queries, a.q_stride, tile * QUERIES, a.rows);
        fetch<C, QUERIES, WARPS * 32>(d, gradients, a.dout_stride, tile * QUERIES, a.rows);
        copy_commit();
        for (int stage = 0; tile <= last_tile; tile++, stage = 1 - stage) {
            elem *this_q = q + stage * QUERIES * C, *this_d = d + stage * QUERIES * C;
            copy_wait<0>();
            block_sync(); /* this tile is there, and all are done with the other */
            for (int i = threadIdx.x; i < QUERIES; i += WARPS * 32) {
                int row = tile * QUERIES + i, there = min(row, a.rows - 1);
                lse[i] = row < a.rows ? a.lse[(int64_t)head * a.rows + row] * log2_e : INFINITY;
                delta[i] = a.delta[(int64_t)head * a.rows + there];
                begin[i] = start[there];
            }
            if (tile < last_tile) {
                fetch<C, QUERIES, WARPS * 32>(q + (1 - stage) * QUERIES * C, queries, a.q_stride,
                                              (tile + 1) * QUERIES, a.rows);
                fetch<C, QUERIES, WARPS * 32>(d + (1 - stage) * QUERIES * C, gradients,
                                              a.dout_stride, (tile + 1) * QUERIES, a.rows);
                copy_commit();
            }
            block_sync();
            float s[N][4] = {}, ds[N][4] = {};
            times_rows<C, N>(s, k, warp * 16, this_q);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int i = n * 8 + t * 2 + e % 2, key = first + warp * 16 + e / 2 * 8 + g;
                    float p = exp2_fast(s[n][e] * scale2 - lse[i]);
                    s[n][e] = key > tile * QUERIES + i || key < begin[i] ? 0 : p;
                }
            times_columns<C, N>(dv, s, this_d);
            times_rows<C, N>(ds, v, warp * 16, this_d);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    ds[n][e] = s[n][e] * (ds[n][e] - delta[n * 8 + t * 2 + e % 2]);
            times_columns<C, N>(dk, ds, this_q);
        }
        block_sync(); /* the next head's tiles take the place of these */
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int key = first + warp * 16 + h * 8 + g;
        if (key >= a.rows) continue;
        put_row<C>(a.dk + key * a.dk_stride + kv * C, dk, h, a.scale);
        put_row<C>(a.dv + key * a.dv_stride + kv * C, dv, h, 1);
    }
}

/* ---- launches ---- */

template <int C> static void launch_fwd(struct device *dev, const attention &a)
{
    constexpr int KEYS = 64, WARPS = 4;
    constexpr size_t bytes = (WARPS * 16 + 2 * KEYS) * C * sizeof(elem);
    dim3 grid((unsigned)pieces(a.rows, WARPS * 16), (unsigned)a.heads);
    allow_shared(dev, (const void *)&fwd_kernel<C, KEYS, WARPS>, bytes, "attention");
    LAUNCH((fwd_kernel<C, KEYS, WARPS>), grid, dim3(WARPS * 32), bytes, dev->stream, a);
}

template <int C, int WARPS, int STAGES>
static void launch_dq(struct device *dev, const attention &a)
{
    constexpr int KEYS = 64;
    constexpr size_t bytes = (2 * WARPS * 16 + 2 * STAGES * KEYS) * C * sizeof(elem);
    dim3 grid((unsigned)pieces(a.rows, WARPS * 16), (unsigned)a.heads);
    allow_shared(dev, (const void *)&dq_kernel<C, KEYS, WARPS, STAGES>, bytes, "attention");
    LAUNCH((dq_kernel<C, KEYS, WARPS, STAGES>), grid, dim3(WARPS * 32), bytes, dev->stream, a);
}

template <int C, int QUERIES, int WARPS>
static void launch_dkdv(struct device *dev, const attention &a)
{
    constexpr size_t bytes = (2 * WARPS * 16 + 4 * QUERIES) * C * sizeof(elem) + QUERIES * 12;
    dim3 grid((unsigned)pieces(a.rows, WARPS * 16), (unsigned)a.kv_heads);
    allow_shared(dev, (const void *)&dkdv_kernel<C, QUERIES, WARPS>, bytes, "attention");
    LAUNCH((dkdv_kernel<C, QUERIES, WARPS>), grid, dim3(WARPS * 32), bytes, dev->stream, a);
}

/* Heads of 128 fit the large tiles where a block may have 160 KiB (sm_80, sm_90), smaller ones
 * where it may have 99 (sm_86, sm_89) or 64 (sm_75). */
static void launch_bwd(struct device *dev, const attention &a)
{
    bool is_large = dev->shared_bytes >= 160 << 10, is_small = dev->shared_bytes < 97 << 10;
    if (a.head_dim == 32) {
        launch_dq<32, 4, 2>(dev, a);
        launch_dkdv<32, 64, 4>(dev, a);
    } else if (a.head_dim == 64) {
        launch_dq<64, 8, 2>(dev, a);
        launch_dkdv<64, 64, 4>(dev, a);
    } else if (is_large) {
        launch_dq<128, 8, 2>(dev, a);
        launch_dkdv<128, 64, 8>(dev, a);
    } else if (is_small) {
        launch_dq<128, 4, 1>(dev, a);
        launch_dkdv<128, 16, 4>(dev, a);
    } else {
        launch_dq<128, 8, 1>(dev, a);
        launch_dkdv<128, 32, 8>(dev, a);
    }
}

/* sm_70 loads and multiplies other tiles than all after it. */
static bool takes_tensor_cores(const struct device *dev, const attention &a)
{
    if (dev->capability < 75) return false;
    return a.head_dim == 32 || a.head_dim == 64 || a.head_dim == 128;
}
static bool mats_are_wide(const struct mat *m, int count)
{
    for (int i = 0; i < count; i++)
        if (!mat_is_wide(m[i], 8)) return false;
    return true;
}
#endif

static dim3 plain_grid(int64_t rows, int64_t heads)
{
    return dim3((unsigned)rows, (unsigned)pieces(heads, PLAIN_WARPS));
}

void attention_fwd(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                   struct mat v, struct spans spans, int64_t past, int64_t rows, int64_t heads,
                   int64_t kv_heads, int64_t head_dim, float scale)
{
    must(rows > 0 && heads % kv_heads == 0 && head_dim <= 32 * PLAIN_COLUMNS);
    if (rows == 1 && past > 0 &&
        attention_one(dev, o, lse, q, k, v, spans, past, heads, kv_heads, head_dim, scale))
        return;
    attention a = {};
    a.q = elems(q), a.q_stride = q.stride;
    a.k = elems(k), a.k_stride = k.stride;
    a.v = elems(v), a.v_stride = v.stride;
    a.o = elems(o), a.o_stride = o.stride;
    a.lse = lse;
    a.first = spans.first, a.second = spans.second, a.split = (int)spans.split;
    a.past = (int)past, a.rows = (int)rows, a.heads = (int)heads, a.kv_heads = (int)kv_heads;
    a.head_dim = (int)head_dim;
    a.scale = scale;
#ifndef ELEM_F32
    struct mat mats[] = { q, k, v, o };
    if (takes_tensor_cores(dev, a) && mats_are_wide(mats, 4)) {
        if (head_dim == 32)
            launch_fwd<32>(dev, a);
        else if (head_dim == 64)
            launch_fwd<64>(dev, a);
        else
            launch_fwd<128>(dev, a);
        launched(dev, __func__);
        return;
    }
#endif
    LAUNCH(plain_fwd_kernel, plain_grid(rows, heads), dim3(PLAIN_WARPS * 32), 0, dev->stream, a);
    launched(dev, __func__);
}

void attention_bwd(struct device *dev, struct mat dq, struct mat dk, struct mat dv, struct mat dout,
                   struct mat o, const float *lse, struct mat q, struct mat k, struct mat v,
                   struct spans spans, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale)
{
    must(rows > 0 && heads % kv_heads == 0 && head_dim <= 32 * PLAIN_COLUMNS);
    must(rows <= dev->shape.rows && heads <= dev->shape.heads && dev->shape.has_backward);
    must(dq.at != q.at);
    attention a = {};
    a.q = elems(q), a.q_stride = q.stride;
    a.k = elems(k), a.k_stride = k.stride;
    a.v = elems(v), a.v_stride = v.stride;
    a.o = elems(o), a.o_stride = o.stride;
    a.dout = elems(dout), a.dout_stride = dout.stride;
    a.dq = elems(dq), a.dq_stride = dq.stride;
    a.dk = elems(dk), a.dk_stride = dk.stride;
    a.dv = elems(dv), a.dv_stride = dv.stride;
    a.lse = (float *)lse;
    a.delta = dev->delta;
    a.first = spans.first, a.second = spans.second, a.split = (int)spans.split;
    a.rows = (int)rows, a.heads = (int)heads, a.kv_heads = (int)kv_heads;
    a.head_dim = (int)head_dim;
    a.scale = scale;
    LAUNCH(delta_kernel, plain_grid(rows, heads), dim3(PLAIN_WARPS * 32), 0, dev->stream, a,
           dev->delta);
#ifndef ELEM_F32
    struct mat mats[] = { q, k, v, dout, dq, dk, dv };
    if (takes_tensor_cores(dev, a) && mats_are_wide(mats, 7)) {
        launch_bwd(dev, a);
        launched(dev, __func__);
        return;
    }
#endif
    /* dq first: it reads the keys, whose gradients may take their place. */
    LAUNCH(plain_dq_kernel, plain_grid(rows, heads), dim3(PLAIN_WARPS * 32), 0, dev->stream, a);
    LAUNCH(plain_dkdv_kernel, plain_grid(rows, kv_heads), dim3(PLAIN_WARPS * 32), 0, dev->stream,
           a);
    launched(dev, __func__);
}
