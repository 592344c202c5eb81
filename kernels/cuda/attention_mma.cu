/* Attention on tensor cores by mma, for an elem of 16 bits and heads of up to 128 columns:
 * FlashAttention-2 (Dao 2023). Row t sees the keys from start[t] up to its own (starts_of).
 * Tiles have 32, 64 or 128 columns; heads with another even number of columns are padded with zeros
 * when they are loaded.
 *
 * A warp owns 16 or 32 rows of scores. The softmax and all sums are f32. The backward has two
 * passes, one for dQ and one for dK and dV, so that no sum needs atomic additions.
 *
 * A warp reads its operands from shared memory, which delivers 128 bytes a clock to a
 * multiprocessor. With 16 rows of 128 columns, a product of 16 × 8 × 16 waits 2.25 clocks for its
 * operands in the forward and 2.33 in dq; with 32 rows, 1.25 and 1.67. The tensor cores themselves
 * need about 1.6 clocks (sm_90) or 2 (sm_80).
 */
#include "kernels/cuda/tile.cuh"

#include "kernels/cuda/attention.cuh"

#ifdef ELEM_F32
bool mma_fwd(struct device *, const attention &) { return false; }
bool mma_bwd(struct device *, const attention &) { return false; }
#else
#include "kernels/cuda/online_softmax.cuh"

/* Returns the number of columns of a head. */
template <int C, bool PADDED> DEVICE int columns_of(const attention &a)
{
    return PADDED ? a.head_dim : C;
}

/* Copies ROWS rows of a head, from row `first` on, to a tile, asynchronously. */
template <int C, bool PADDED, int ROWS, int THREADS_>
DEVICE void fetch_head(elem *tile, const elem *from, int64_t stride, int first, int rows,
                       const attention &a)
{
    if (PADDED)
        fetch_padded<C, ROWS, THREADS_>(tile, from, stride, first, rows, a.head_dim);
    else
        fetch<C, ROWS, THREADS_>(tile, from, stride, first, rows);
}

/* Computes s[16 · M, 8 · N] += A Bᵀ. It uses 16 · M rows of A, from `row` on, and the first 8 · N
 * rows of B. */
template <int C, int M, int N>
DEVICE void matmul_transposed(float (*s)[N][4], elem *a, int row, elem *b)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < C; k += 16) {
        uint32_t x[M][4], y[4];
#pragma unroll
        for (int m = 0; m < M; m++)
            ldmatrix4(x[m], tile_at<C>(a, row + m * 16 + lane % 16, k + lane / 16 * 8));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            ldmatrix4(y, tile_at<C>(b, n * 8 + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8));
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma(s[m][n], x[m], y[0], y[1]);
                mma(s[m][n + 1], x[m], y[2], y[3]);
            }
        }
    }
}

/* Computes sum[16 · M, C] += p B, with p [16 · M, 8 · N] rounded to elem, and B [8 · N, C]. */
template <int C, int M, int N>
DEVICE void matmul_add(float (*sum)[C / 8][4], const float (*p)[N][4], elem *b)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t x[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            pack_left(x[m], p[m] + n);
#pragma unroll
        for (int c = 0; c < C / 8; c += 2) {
            uint32_t y[4];
            ldmatrix4_trans(y, tile_at<C>(b, n * 8 + lane % 16, c * 8 + lane / 16 * 8));
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma(sum[m][c], x[m], y[0], y[1]);
                mma(sum[m][c + 1], x[m], y[2], y[3]);
            }
        }
    }
}

/* The forward. A block owns WARPS · M · 16 queries of a head and goes over the keys in tiles of
 * KEYS. It loads a tile of V while it computes Q Kᵀ, and the next tile of K while it computes P V.
 * The blocks with the most keys start first. */
template <int C, bool PADDED, int KEYS, int WARPS, int M>
KERNEL(WARPS * 32, C == 128 ? 2 : 1)
fwd_kernel(const attention a)
{
    constexpr int QUERIES = WARPS * M * 16, N = KEYS / 8;
    SHARED_DYNAMIC(memory);
    elem *q = (elem *)memory, *k = q + QUERIES * C, *v = k + KEYS * C;
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int head = blockIdx.y, kv = head / (a.heads / a.kv_heads);
    const int32_t *start = starts_of(a, head);
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * QUERIES;
    int last = min(first + QUERIES, a.rows) - 1, key_count = a.past + a.rows;
    int tile = start[first] / KEYS, last_tile = (a.past + last) / KEYS;
    /* Every row of the block sees all keys from this one up to its own position. */
    int first_unmasked = start[last];
    int row0 = first + warp * M * 16 + g; /* this lane's rows are row0 + 16 · m + 8 · h */
    int columns = columns_of<C, PADDED>(a);
    const elem *keys = a.k + kv * columns, *values = a.v + kv * columns;
    float row_max[M][2], row_sum[M][2], sum[M][C / 8][4] = {};
    for (int m = 0; m < M; m++)
        for (int h = 0; h < 2; h++) {
            row_max[m][h] = -INFINITY;
            row_sum[m][h] = 0;
        }
    fetch_head<C, PADDED, QUERIES, WARPS * 32>(q, a.q + head * columns, a.q_stride, first, a.rows,
                                               a);
    fetch_head<C, PADDED, KEYS, WARPS * 32>(k, keys, a.k_stride, tile * KEYS, key_count, a);
    copy_commit();
    float scale2 = a.scale * log2_e;
    for (; tile <= last_tile; tile++) {
        copy_wait<0>();
        block_sync(); /* K has arrived, and no warp needs the previous V any more. */
        fetch_head<C, PADDED, KEYS, WARPS * 32>(v, values, a.v_stride, tile * KEYS, key_count, a);
        copy_commit();
        float s[M][N][4] = {};
        matmul_transposed<C, M, N>(s, q, warp * M * 16, k);
        copy_wait<0>();
        block_sync(); /* V has arrived, and no warp needs this K any more. */
        if (tile < last_tile) {
            fetch_head<C, PADDED, KEYS, WARPS * 32>(k, keys, a.k_stride, (tile + 1) * KEYS,
                                                    key_count, a);
            copy_commit();
        }
        if (tile * KEYS + KEYS - 1 > a.past + first || tile * KEYS < first_unmasked)
            mask_scores<M, N>(s, start, row0, tile * KEYS, a);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float rescale = online_softmax<N>(s[m], h, row_max[m][h], row_sum[m][h], scale2);
                if (rescale == 1) continue; /* the usual case after the first tiles */
#pragma unroll
                for (int c = 0; c < C / 8; c++) {
                    sum[m][c][2 * h] *= rescale;
                    sum[m][c][2 * h + 1] *= rescale;
                }
            }
        matmul_add<C, M, N>(sum, s, v);
    }
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = row0 + m * 16 + h * 8;
            float whole_sum = sum_over_lanes(row_sum[m][h]);
            if (row >= a.rows) continue;
            store_row<C>(a.o + row * a.o_stride + head * columns, sum[m], h, 1 / whole_sum,
                         columns);
            if (t == 0)
                a.lse[(int64_t)head * a.rows + row] = row_max[m][h] * a.scale + logf(whole_sum);
        }
}

/* Computes dQ. As in the forward, the loop goes over tiles of keys, but P is computed from lse.
 * Then dP = dO Vᵀ, dS = P ⊙ (dP − delta), dQ += dS K. */
template <int C, bool PADDED, int KEYS, int WARPS, int M, int STAGES>
KERNEL(WARPS * 32, 1)
dq_kernel(const attention a)
{
    constexpr int QUERIES = WARPS * M * 16, N = KEYS / 8;
    SHARED_DYNAMIC(memory);
    elem *q = (elem *)memory, *d = q + QUERIES * C, *k = d + QUERIES * C;
    elem *v = k + STAGES * KEYS * C;
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
    int head = blockIdx.y, kv = head / (a.heads / a.kv_heads);
    const int32_t *start = starts_of(a, head);
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * QUERIES;
    int last = min(first + QUERIES, a.rows) - 1;
    int tile = start[first] / KEYS, last_tile = last / KEYS, first_unmasked = start[last];
    int row0 = first + warp * M * 16 + g; /* this lane's rows are row0 + 16 · m + 8 · h */
    int columns = columns_of<C, PADDED>(a);
    const elem *keys = a.k + kv * columns, *values = a.v + kv * columns;
    row_stats stats[M][2];
    float sum[M][C / 8][4] = {};
    for (int m = 0; m < M; m++)
        for (int h = 0; h < 2; h++)
            stats[m][h] = a.stats[(int64_t)head * a.rows + min(row0 + m * 16 + h * 8, a.rows - 1)];
    fetch_head<C, PADDED, QUERIES, WARPS * 32>(q, a.q + head * columns, a.q_stride, first, a.rows,
                                               a);
    fetch_head<C, PADDED, QUERIES, WARPS * 32>(d, a.dout + head * columns, a.dout_stride, first,
                                               a.rows, a);
    fetch_head<C, PADDED, KEYS, WARPS * 32>(k, keys, a.k_stride, tile * KEYS, a.rows, a);
    fetch_head<C, PADDED, KEYS, WARPS * 32>(v, values, a.v_stride, tile * KEYS, a.rows, a);
    copy_commit();
    float scale2 = a.scale * log2_e;
    for (int stage = 0; tile <= last_tile; tile++, stage = (stage + 1) % STAGES) {
        elem *this_k = k + stage * KEYS * C, *this_v = v + stage * KEYS * C;
        copy_wait<0>();
        /* This tile has arrived. With two stages, no warp needs the other stage any more. */
        block_sync();
        if (STAGES == 2 && tile < last_tile) {
            fetch_head<C, PADDED, KEYS, WARPS * 32>(k + (1 - stage) * KEYS * C, keys, a.k_stride,
                                                    (tile + 1) * KEYS, a.rows, a);
            fetch_head<C, PADDED, KEYS, WARPS * 32>(v + (1 - stage) * KEYS * C, values, a.v_stride,
                                                    (tile + 1) * KEYS, a.rows, a);
            copy_commit();
        }
        float s[M][N][4] = {}, ds[M][N][4] = {};
        matmul_transposed<C, M, N>(s, q, warp * M * 16, this_k);
        matmul_transposed<C, M, N>(ds, d, warp * M * 16, this_v);
        if (tile * KEYS + KEYS - 1 > first || tile * KEYS < first_unmasked)
            mask_scores<M, N>(s, start, row0, tile * KEYS, a);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float p = exp2_fast(s[m][n][e] * scale2 - stats[m][e / 2].lse2);
                    ds[m][n][e] = p * (ds[m][n][e] - stats[m][e / 2].delta);
                }
        matmul_add<C, M, N>(sum, ds, this_k);
        if (STAGES == 1) {
            block_sync(); /* No warp needs this tile any more. */
            if (tile < last_tile) {
                fetch_head<C, PADDED, KEYS, WARPS * 32>(k, keys, a.k_stride, (tile + 1) * KEYS,
                                                        a.rows, a);
                fetch_head<C, PADDED, KEYS, WARPS * 32>(v, values, a.v_stride, (tile + 1) * KEYS,
                                                        a.rows, a);
                copy_commit();
            }
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = row0 + m * 16 + h * 8;
            if (row < a.rows)
                store_row<C>(a.dq + row * a.dq_stride + head * columns, sum[m], h, a.scale,
                             columns);
        }
}

/* Loads a tile of queries with the gradients of their outputs and their row_stats. Rows beyond the
 * last become zeros, which add nothing to dK and dV. */
template <int C, bool PADDED, int QUERIES, int THREADS_>
DEVICE void fetch_queries(elem *q, elem *d, row_stats *stats, const attention &a, int head,
                          int first)
{
    int columns = columns_of<C, PADDED>(a);
    fetch_head<C, PADDED, QUERIES, THREADS_>(q, a.q + head * columns, a.q_stride, first, a.rows, a);
    fetch_head<C, PADDED, QUERIES, THREADS_>(d, a.dout + head * columns, a.dout_stride, first,
                                             a.rows, a);
    fetch_row_stats<QUERIES>(stats, a, head, first);
    copy_commit();
}

/* Computes dK and dV. A block owns WARPS · 16 keys of a key/value head. It goes over the query
 * heads that share it, and over their queries in tiles of QUERIES. Scores are computed transposed,
 * so that the softmax is the left operand of the next product: dV += Pᵀ dO, dK += dSᵀ Q. */
template <int C, bool PADDED, int QUERIES, int WARPS>
KERNEL(WARPS * 32, 1)
dkdv_kernel(const attention a)
{
    constexpr int KEYS = WARPS * 16, N = QUERIES / 8, THREADS_ = WARPS * 32;
    SHARED_DYNAMIC(memory);
    elem *k = (elem *)memory, *v = k + KEYS * C, *q = v + KEYS * C, *d = q + 2 * QUERIES * C;
    row_stats *stats = (row_stats *)(d + 2 * QUERIES * C);
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int kv = blockIdx.y, group_size = a.heads / a.kv_heads, columns = columns_of<C, PADDED>(a);
    int first = blockIdx.x * KEYS, last = min(first + KEYS, a.rows) - 1;
    int key0 = first + warp * 16 + g; /* this lane's keys are key0 and key0 + 8 */
    float dk[1][C / 8][4] = {}, dv[1][C / 8][4] = {}, scale2 = a.scale * log2_e;
    fetch_head<C, PADDED, KEYS, THREADS_>(k, a.k + kv * columns, a.k_stride, first, a.rows, a);
    fetch_head<C, PADDED, KEYS, THREADS_>(v, a.v + kv * columns, a.v_stride, first, a.rows, a);
    copy_commit();
    for (int head = kv * group_size; head < (kv + 1) * group_size; head++) {
        const int32_t *start = starts_of(a, head);
        int tile = first / QUERIES, last_tile = last_query(start, a.rows, last) / QUERIES;
        /* Queries after this one do not see the block's first key. */
        int last_unmasked = last_query(start, a.rows, first);
        fetch_queries<C, PADDED, QUERIES, THREADS_>(q, d, stats, a, head, tile * QUERIES);
        for (int stage = 0; tile <= last_tile; tile++, stage = 1 - stage) {
            elem *this_q = q + stage * QUERIES * C, *this_d = d + stage * QUERIES * C;
            const row_stats *this_stats = stats + stage * QUERIES;
            copy_wait<0>();
            block_sync(); /* This tile has arrived, and no warp needs the other one any more. */
            if (tile < last_tile)
                fetch_queries<C, PADDED, QUERIES, THREADS_>(
                    q + (1 - stage) * QUERIES * C, d + (1 - stage) * QUERIES * C,
                    stats + (1 - stage) * QUERIES, a, head, (tile + 1) * QUERIES);
            float s[1][N][4] = {}, ds[1][N][4] = {};
            matmul_transposed<C, 1, N>(s, k, warp * 16, this_q);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    s[0][n][e] =
                        exp2_fast(s[0][n][e] * scale2 - this_stats[n * 8 + t * 2 + e % 2].lse2);
            if (tile * QUERIES < last || tile * QUERIES + QUERIES - 1 > last_unmasked)
                mask_keys<N>(s[0], start, key0, tile * QUERIES, a);
            matmul_add<C, 1, N>(dv, s, this_d);
            matmul_transposed<C, 1, N>(ds, v, warp * 16, this_d);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    ds[0][n][e] =
                        s[0][n][e] * (ds[0][n][e] - this_stats[n * 8 + t * 2 + e % 2].delta);
            matmul_add<C, 1, N>(dk, ds, this_q);
        }
        block_sync(); /* The next head's tiles overwrite these. */
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int key = key0 + h * 8;
        if (key >= a.rows) continue;
        store_row<C>(a.dk + key * a.dk_stride + kv * columns, dk[0], h, a.scale, columns);
        store_row<C>(a.dv + key * a.dv_stride + kv * columns, dv[0], h, 1, columns);
    }
}

/* ---- launches, and the shared memory of a block ---- */

static constexpr size_t fwd_bytes(int c, int keys, int warps, int m)
{
    return (size_t)(warps * m * 16 + 2 * keys) * c * sizeof(elem);
}
static constexpr size_t dq_bytes(int c, int keys, int warps, int m, int stages)
{
    return (size_t)(2 * warps * m * 16 + 2 * stages * keys) * c * sizeof(elem);
}
static constexpr size_t dkdv_bytes(int c, int queries, int warps)
{
    return (size_t)(2 * warps * 16 + 4 * queries) * c * sizeof(elem) +
           2 * queries * sizeof(row_stats);
}

template <int C, bool PADDED, int KEYS, int WARPS, int M>
static void launch_fwd(struct device *dev, const attention &a)
{
    constexpr size_t bytes = fwd_bytes(C, KEYS, WARPS, M);
    static_assert((int)ATTENTION_UNIT % (WARPS * M * 16) == 0 && (int)ATTENTION_UNIT % KEYS == 0);
    dim3 grid((unsigned)ceil_div(a.rows, WARPS * M * 16), (unsigned)a.heads);
    allow_shared(dev, (const void *)&fwd_kernel<C, PADDED, KEYS, WARPS, M>, bytes, "attention");
    LAUNCH((fwd_kernel<C, PADDED, KEYS, WARPS, M>), grid, dim3(WARPS * 32), bytes, dev->stream, a);
}

template <int C, bool PADDED, int KEYS, int WARPS, int M, int STAGES>
static void launch_dq(struct device *dev, const attention &a)
{
    constexpr size_t bytes = dq_bytes(C, KEYS, WARPS, M, STAGES);
    static_assert((int)ATTENTION_UNIT % (WARPS * M * 16) == 0 && (int)ATTENTION_UNIT % KEYS == 0);
    dim3 grid((unsigned)ceil_div(a.rows, WARPS * M * 16), (unsigned)a.heads);
    allow_shared(dev, (const void *)&dq_kernel<C, PADDED, KEYS, WARPS, M, STAGES>, bytes,
                 "attention");
    LAUNCH((dq_kernel<C, PADDED, KEYS, WARPS, M, STAGES>), grid, dim3(WARPS * 32), bytes,
           dev->stream, a);
}

template <int C, bool PADDED, int QUERIES, int WARPS>
static void launch_dkdv(struct device *dev, const attention &a)
{
    constexpr size_t bytes = dkdv_bytes(C, QUERIES, WARPS);
    static_assert((int)ATTENTION_UNIT % (WARPS * 16) == 0 && (int)ATTENTION_UNIT % QUERIES == 0);
    dim3 grid((unsigned)ceil_div(a.rows, WARPS * 16), (unsigned)a.kv_heads);
    allow_shared(dev, (const void *)&dkdv_kernel<C, PADDED, QUERIES, WARPS>, bytes, "attention");
    LAUNCH((dkdv_kernel<C, PADDED, QUERIES, WARPS>), grid, dim3(WARPS * 32), bytes, dev->stream, a);
}

/* For heads of 128 columns the tiles depend on the shared memory that a block may have: 227 KiB
 * (sm_90), 163 (sm_80), 99 (sm_86, sm_89) or 64 (sm_75). A warp has 32 rows if two blocks then fit
 * on a multiprocessor. Two blocks need 128 KiB in the forward, which sm_80 and sm_90 have, and 192
 * KiB in dq, which sm_90 has. With 99 or 64 KiB tiles are smaller. Padded heads have only these
 * smaller tiles, because nvcc needs seconds for each kernel. A GPU gets the tiles of SM_90, SM_80
 * or SM_86 if a block may have at least this many bytes. */
enum { SM_90 = 192 << 10, SM_80 = 160 << 10, SM_86 = 97 << 10 };

static void launch_bwd_128(struct device *dev, const attention &a)
{
    if (dev->shared_bytes >= SM_90)
        launch_dq<128, false, 32, 4, 2, 2>(dev, a);
    else
        launch_dq<128, false, 64, 8, 1, 2>(dev, a);
    launch_dkdv<128, false, 64, 8>(dev, a);
}

template <bool PADDED> static void launch_small_bwd_128(struct device *dev, const attention &a)
{
    if (dev->shared_bytes >= SM_86) {
        launch_dq<128, PADDED, 64, 8, 1, 1>(dev, a);
        launch_dkdv<128, PADDED, 32, 8>(dev, a);
    } else {
        launch_dq<128, PADDED, 64, 4, 1, 1>(dev, a);
        launch_dkdv<128, PADDED, 16, 4>(dev, a);
    }
}

template <bool PADDED> static void launch_bwd_64(struct device *dev, const attention &a)
{
    launch_dq<64, PADDED, 64, 8, 1, 2>(dev, a);
    launch_dkdv<64, PADDED, 64, 4>(dev, a);
}

/* Can heads be read and written two elements at a time? */
static bool is_paired(const attention &a)
{
    const elem *all[] = { a.q, a.k, a.v, a.o, a.dq, a.dout, a.dk, a.dv };
    int64_t strides = a.q_stride | a.k_stride | a.v_stride | a.o_stride | a.dq_stride |
                      a.dout_stride | a.dk_stride | a.dv_stride | a.head_dim;
    for (const elem *at : all)
        if ((uintptr_t)at % 4) return false;
    return strides % 2 == 0;
}

/* Do the kernels support this call? Not on sm_70, whose instructions to load and to multiply tiles
 * differ from those of all later GPUs. */
static bool suits(const struct device *dev, const attention &a)
{
    return has_tensor_cores(dev) && a.head_dim <= 128 &&
           (a.head_dim % 8 ? is_paired(a) : is_all_wide(a));
}

bool mma_fwd(struct device *dev, const attention &a)
{
    if (!suits(dev, a)) return false;
    if (a.head_dim == 32)
        launch_fwd<32, false, 64, 4, 1>(dev, a);
    else if (a.head_dim == 64)
        launch_fwd<64, false, 64, 4, 2>(dev, a);
    else if (a.head_dim < 64)
        launch_fwd<64, true, 64, 4, 2>(dev, a);
    else if (a.head_dim < 128)
        launch_fwd<128, true, 64, 4, 1>(dev, a);
    else if (dev->shared_bytes >= SM_80)
        launch_fwd<128, false, 64, 4, 2>(dev, a);
    else
        launch_fwd<128, false, 64, 4, 1>(dev, a);
    launched(dev, "attention_fwd");
    return true;
}

bool mma_bwd(struct device *dev, const attention &a)
{
    if (!suits(dev, a)) return false;
    if (a.head_dim == 32) {
        launch_dq<32, false, 64, 4, 1, 2>(dev, a);
        launch_dkdv<32, false, 64, 4>(dev, a);
    } else if (a.head_dim == 64) {
        launch_bwd_64<false>(dev, a);
    } else if (a.head_dim < 64) {
        launch_bwd_64<true>(dev, a);
    } else if (a.head_dim < 128) {
        launch_small_bwd_128<true>(dev, a);
    } else if (dev->shared_bytes >= SM_80) {
        launch_bwd_128(dev, a);
    } else {
        launch_small_bwd_128<false>(dev, a);
    }
    launched(dev, "attention_bwd");
    return true;
}
#endif
