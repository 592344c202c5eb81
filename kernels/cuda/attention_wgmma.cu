/* Attention by Hopper's warpgroup products (wgmma), for elements of 16 bits and heads of 64 or 128
 * columns.
 *
 * The arithmetic is that of attention_mma.cu. The difference is that each of two warpgroups of 64
 * rows issues a product and continues without waiting for its result. As in FlashAttention-3 (Shah
 * et al. 2024), the softmax of a tile is computed while the tensor cores work on the products of
 * the tile before.
 *
 * A product of 64 × 64 × 16 takes 32 clocks of a multiprocessor, one of 64 × 128 × 16 takes 64. Its
 * operands come from shared memory at 128 bytes a clock: 2 KB of A, unless A is in registers, and 2
 * or 4 KB of B.
 */
#include "kernels/cuda/attention.cuh"

#if defined ELEM_F32 || !defined HOPPER
bool wgmma_fwd(struct device *, const attention &) { return false; }
bool wgmma_dq(struct device *, const attention &) { return false; }
bool wgmma_dkdv(struct device *, const attention &) { return false; }
#else
#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/wgmma.cuh"

/* Grids are [heads, tiles of rows]. Over all heads, the blocks with the most to do start first. */
enum { GROUPS = 2, GROUP_ROWS = 64, OWN_ROWS = GROUPS * GROUP_ROWS, GROUP_THREADS = GROUPS * 128 };

/* In the forward and for dQ a tile has KEYS keys; for dK and dV a tile has QUERIES queries. STAGES
 * tiles are in shared memory at the same time (of keys for dQ, of queries for dK and dV). */
enum { KEYS = 128, QUERIES = 64, STAGES = 3 };
static_assert((int)ATTENTION_UNIT % OWN_ROWS == 0 && (int)ATTENTION_UNIT % KEYS == 0);

/* Rounds scores to elem. They are the left operand of the next product. */
template <int N> DEVICE void pack_scores(uint32_t (*p)[4], const float (*s)[4])
{
#pragma unroll
    for (int n = 0; n < N; n += 2)
        pack_left(p[n / 2], s + n);
}

/* Waits until the copies of all threads have arrived and products may read them. */
DEVICE void wait_for_copies()
{
    copy_wait<0>();
    shared_to_products();
    block_sync();
}

/* Turns a tile's scores into weights. rescale: the factors for the sums of the tiles before. */
template <int N>
DEVICE void softmax_tile(float (&s)[N][4], float *row_max, float *row_sum, float *rescale,
                         const int32_t *start, int row0, int key, int first, int first_unmasked,
                         const attention &a)
{
    if (key + N * 8 - 1 > a.past + first || key < first_unmasked)
        mask_scores<1, N>(&s, start, row0, key, a);
#pragma unroll
    for (int h = 0; h < 2; h++)
        rescale[h] = online_softmax<N>(s, h, row_max[h], row_sum[h], a.scale * log2_e);
}

/* The forward. A block owns OWN_ROWS queries of a head. The product that gives a tile's scores and
 * the product with the previous tile's values are in flight together. The softmax waits for the
 * scores only. */
template <int C> KERNEL(GROUP_THREADS, 1) wgmma_fwd_kernel(const attention a)
{
    constexpr int N = KEYS / 8;
    SHARED_DYNAMIC(memory);
    elem *q = (elem *)memory, *k = q + OWN_ROWS * C, *v = k + 2 * KEYS * C;
    int group = threadIdx.x / 128, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
    int head = blockIdx.x, kv = head / (a.heads / a.kv_heads);
    const int32_t *start = starts_of(a, head);
    int first = ((int)gridDim.y - 1 - (int)blockIdx.y) * OWN_ROWS;
    int last = min(first + OWN_ROWS, a.rows) - 1, key_count = a.past + a.rows;
    int tile = start[first] / KEYS, last_tile = (a.past + last) / KEYS;
    /* Every row of the block sees all keys from this one up to its own position. */
    int first_unmasked = start[last];
    int row0 = first + warp * 16 + g; /* this lane's rows are row0 and row0 + 8 */
    const elem *keys = a.k + kv * C, *values = a.v + kv * C;
    float row_max[2] = { -INFINITY, -INFINITY }, row_sum[2] = {}, rescale[2];
    float s[N][4], sum[C / 8][4] = {};
    uint32_t p[N / 2][4];
    fetch_panels<C, OWN_ROWS, GROUP_THREADS>(q, a.q + head * C, a.q_stride, first, a.rows);
    fetch_panels<C, KEYS, GROUP_THREADS>(k, keys, a.k_stride, tile * KEYS, key_count);
    copy_commit();
    wait_for_copies();
    products_begin();
    matmul_transposed<C, KEYS, OWN_ROWS>(s, q, group * GROUP_ROWS, k);
    products_commit();
    fetch_panels<C, KEYS, GROUP_THREADS>(v, values, a.v_stride, tile * KEYS, key_count);
    if (tile < last_tile)
        fetch_panels<C, KEYS, GROUP_THREADS>(k + KEYS * C, keys, a.k_stride, (tile + 1) * KEYS,
                                             key_count);
    copy_commit();
    products_wait<0>();
    sums_are_written<KEYS>(s);
    softmax_tile<N>(s, row_max, row_sum, rescale, start, row0, tile * KEYS, first, first_unmasked,
                    a);
    pack_scores<N>(p, s);
    int stage = 0;
    for (; tile < last_tile; tile++, stage = 1 - stage) {
        /* This tile's values and the next tile's keys have arrived. No warp needs the previous
         * values or this tile's keys any more. */
        wait_for_copies();
        products_begin();
        matmul_transposed<C, KEYS, OWN_ROWS>(s, q, group * GROUP_ROWS, k + (1 - stage) * KEYS * C);
        products_commit();
        matmul_add<C, KEYS>(sum, p, v + stage * KEYS * C);
        products_commit();
        fetch_panels<C, KEYS, GROUP_THREADS>(v + (1 - stage) * KEYS * C, values, a.v_stride,
                                             (tile + 1) * KEYS, key_count);
        if (tile + 1 < last_tile)
            fetch_panels<C, KEYS, GROUP_THREADS>(k + stage * KEYS * C, keys, a.k_stride,
                                                 (tile + 2) * KEYS, key_count);
        copy_commit();
        products_wait<1>();
        sums_are_written<KEYS>(s);
        softmax_tile<N>(s, row_max, row_sum, rescale, start, row0, (tile + 1) * KEYS, first,
                        first_unmasked, a);
        compute_before_wait(row_sum[0], row_sum[1]);
        products_wait<0>();
        sums_are_written<C>(sum);
#pragma unroll
        for (int c = 0; c < C / 8; c++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sum[c][e] *= rescale[e / 2];
        pack_scores<N>(p, s);
    }
    wait_for_copies();
    products_begin();
    matmul_add<C, KEYS>(sum, p, v + stage * KEYS * C);
    products_commit();
    products_wait<0>();
    sums_are_written<C>(sum);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = row0 + h * 8;
        float whole_sum = sum_over_lanes(row_sum[h]);
        if (row >= a.rows) continue;
        store_row<C>(a.o + row * a.o_stride + head * C, sum, h, 1 / whole_sum);
        if (threadIdx.x % 4 == 0)
            a.lse[(int64_t)head * a.rows + row] = row_max[h] * a.scale + logf(whole_sum);
    }
}

/* Computes dQ. The product dQ += dS K of a tile runs while the scores and dP = dO Vᵀ of the next
 * tile are computed. So a tile's keys stay in shared memory one iteration longer than its values.
 */
template <int C> KERNEL(GROUP_THREADS, 1) wgmma_dq_kernel(const attention a)
{
    constexpr int N = KEYS / 8;
    SHARED_DYNAMIC(memory);
    elem *q = (elem *)memory, *d = q + OWN_ROWS * C, *k = d + OWN_ROWS * C,
         *v = k + STAGES * KEYS * C;
    int group = threadIdx.x / 128, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
    int head = blockIdx.x, kv = head / (a.heads / a.kv_heads);
    const int32_t *start = starts_of(a, head);
    int first = ((int)gridDim.y - 1 - (int)blockIdx.y) * OWN_ROWS;
    int last = min(first + OWN_ROWS, a.rows) - 1;
    int tile = start[first] / KEYS, last_tile = last / KEYS, first_unmasked = start[last];
    int row0 = first + warp * 16 + g; /* this lane's rows are row0 and row0 + 8 */
    const elem *keys = a.k + kv * C, *values = a.v + kv * C;
    row_stats stats[2];
    float sum[C / 8][4] = {}, scale2 = a.scale * log2_e;
    uint32_t left[N / 2][4];
    for (int h = 0; h < 2; h++)
        stats[h] = a.stats[(int64_t)head * a.rows + min(row0 + h * 8, a.rows - 1)];
    fetch_panels<C, OWN_ROWS, GROUP_THREADS>(q, a.q + head * C, a.q_stride, first, a.rows);
    fetch_panels<C, OWN_ROWS, GROUP_THREADS>(d, a.dout + head * C, a.dout_stride, first, a.rows);
    fetch_panels<C, KEYS, GROUP_THREADS>(k, keys, a.k_stride, tile * KEYS, a.rows);
    fetch_panels<C, KEYS, GROUP_THREADS>(v, values, a.v_stride, tile * KEYS, a.rows);
    copy_commit();
    for (int at_k = 0, at_v = 0;; tile++, at_v = 1 - at_v) { /* there is at least one tile */
        int next_k = at_k == STAGES - 1 ? 0 : at_k + 1;
        const elem *this_k = k + at_k * KEYS * C, *this_v = v + at_v * KEYS * C;
        /* This tile has arrived. No warp needs the previous tile's values, or the keys of the tile
         * before that, any more. */
        wait_for_copies();
        float s[N][4], ds[N][4];
        products_begin();
        matmul_transposed<C, KEYS, OWN_ROWS>(s, q, group * GROUP_ROWS, this_k);
        products_commit();
        matmul_transposed<C, KEYS, OWN_ROWS>(ds, d, group * GROUP_ROWS, this_v);
        products_commit();
        if (tile < last_tile) {
            fetch_panels<C, KEYS, GROUP_THREADS>(k + next_k * KEYS * C, keys, a.k_stride,
                                                 (tile + 1) * KEYS, a.rows);
            fetch_panels<C, KEYS, GROUP_THREADS>(v + (1 - at_v) * KEYS * C, values, a.v_stride,
                                                 (tile + 1) * KEYS, a.rows);
        }
        copy_commit();
        products_wait<1>();
        sums_are_written<KEYS>(s);
        if (tile * KEYS + KEYS - 1 > first || tile * KEYS < first_unmasked)
            mask_scores<1, N>(&s, start, row0, tile * KEYS, a);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[n][e] = exp2_fast(s[n][e] * scale2 - stats[e / 2].lse2);
        float largest[2] = {};
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                largest[e / 2] = fmaxf(largest[e / 2], s[n][e]);
        compute_before_wait(largest[0], largest[1]);
        products_wait<0>();
        sums_are_written<KEYS>(ds);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                ds[n][e] = s[n][e] * (ds[n][e] - stats[e / 2].delta);
        pack_scores<N>(left, ds);
        products_begin();
        matmul_add<C, KEYS>(sum, left, this_k);
        products_commit();
        if (tile == last_tile) break;
        at_k = next_k;
    }
    products_wait<0>();
    sums_are_written<C>(sum);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = row0 + h * 8;
        if (row < a.rows) store_row<C>(a.dq + row * a.dq_stride + head * C, sum, h, a.scale);
    }
}

/* Loads a tile of queries with the gradients of their outputs and their row_stats. Rows beyond the
 * last become zeros, which add nothing to dK and dV. */
template <int C>
DEVICE void fetch_queries(elem *q, elem *d, row_stats *stats, const attention &a, int head,
                          int first)
{
    fetch_panels<C, QUERIES, GROUP_THREADS>(q, a.q + head * C, a.q_stride, first, a.rows);
    fetch_panels<C, QUERIES, GROUP_THREADS>(d, a.dout + head * C, a.dout_stride, first, a.rows);
    fetch_row_stats<QUERIES>(stats, a, head, first);
}

/* Computes dK and dV. A block owns OWN_ROWS keys of a key/value head. It goes over the query heads
 * that share it and over their queries. Scores are computed transposed: dV += Pᵀ dO, dK += dSᵀ Q.
 * dV += Pᵀ dO runs while dS is computed. dK += dSᵀ Q still runs when the next tile's products are
 * issued. */
template <int C> KERNEL(GROUP_THREADS, 1) wgmma_dkdv_kernel(const attention a)
{
    constexpr int N = QUERIES / 8;
    SHARED_DYNAMIC(memory);
    elem *k = (elem *)memory, *v = k + OWN_ROWS * C, *q = v + OWN_ROWS * C;
    elem *d = q + STAGES * QUERIES * C;
    row_stats *stats = (row_stats *)(d + STAGES * QUERIES * C);
    int group = threadIdx.x / 128, warp = threadIdx.x / 32;
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int kv = blockIdx.x, group_size = a.heads / a.kv_heads;
    int first = blockIdx.y * OWN_ROWS, last = min(first + OWN_ROWS, a.rows) - 1;
    int key0 = first + warp * 16 + g; /* this lane's keys are key0 and key0 + 8 */
    float dk[C / 8][4] = {}, dv[C / 8][4] = {};
    float scale2 = a.scale * log2_e;
    uint32_t weights[N / 2][4], left[N / 2][4];
    fetch_panels<C, OWN_ROWS, GROUP_THREADS>(k, a.k + kv * C, a.k_stride, first, a.rows);
    fetch_panels<C, OWN_ROWS, GROUP_THREADS>(v, a.v + kv * C, a.v_stride, first, a.rows);
    for (int head = kv * group_size; head < (kv + 1) * group_size; head++) {
        const int32_t *start = starts_of(a, head);
        int tile = first / QUERIES, last_tile = last_query(start, a.rows, last) / QUERIES;
        /* Queries after this one do not see the block's first key. */
        int last_unmasked = last_query(start, a.rows, first);
        fetch_queries<C>(q, d, stats, a, head, tile * QUERIES);
        copy_commit();
        for (int stage = 0; tile <= last_tile; tile++) {
            int next = stage == STAGES - 1 ? 0 : stage + 1;
            const elem *this_q = q + stage * QUERIES * C, *this_d = d + stage * QUERIES * C;
            const row_stats *this_stats = stats + stage * QUERIES;
            /* This tile has arrived. No warp needs the tile before the previous one any more. */
            wait_for_copies();
            float s[N][4], ds[N][4];
            products_begin();
            matmul_transposed<C, QUERIES, OWN_ROWS>(s, k, group * GROUP_ROWS, this_q);
            products_commit();
            matmul_transposed<C, QUERIES, OWN_ROWS>(ds, v, group * GROUP_ROWS, this_d);
            products_commit();
            if (tile < last_tile)
                fetch_queries<C>(q + next * QUERIES * C, d + next * QUERIES * C,
                                 stats + next * QUERIES, a, head, (tile + 1) * QUERIES);
            copy_commit();
            products_wait<1>();
            sums_are_written<QUERIES>(s);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    s[n][e] = exp2_fast(s[n][e] * scale2 - this_stats[n * 8 + t * 2 + e % 2].lse2);
            if (tile * QUERIES < last || tile * QUERIES + QUERIES - 1 > last_unmasked)
                mask_keys<N>(s, start, key0, tile * QUERIES, a);
            pack_scores<N>(weights, s);
            products_begin();
            matmul_add<C, QUERIES>(dv, weights, this_d);
            products_commit();
            products_wait<1>();
            sums_are_written<QUERIES>(ds);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    ds[n][e] = s[n][e] * (ds[n][e] - this_stats[n * 8 + t * 2 + e % 2].delta);
            pack_scores<N>(left, ds);
            products_begin();
            matmul_add<C, QUERIES>(dk, left, this_q);
            products_commit();
            stage = next;
        }
        products_wait<0>();
        sums_are_written<C>(dk);
        sums_are_written<C>(dv);
        block_sync(); /* The next head's tiles overwrite these. */
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int key = key0 + h * 8;
        if (key >= a.rows) continue;
        store_row<C>(a.dk + key * a.dk_stride + kv * C, dk, h, a.scale);
        store_row<C>(a.dv + key * a.dv_stride + kv * C, dv, h, 1);
    }
}

/* ---- launches ---- */

/* Do the kernels support this call? wgmma exists only on sm_90. The largest kernel, that for dQ
 * with 128 columns, needs 224 KiB of shared memory. */
static bool suits(const struct device *dev, const attention &a)
{
    return dev->capability == 90 && dev->shared_bytes >= 224 << 10 && is_all_wide(a) &&
           (a.head_dim == 64 || a.head_dim == 128);
}

template <class K>
static bool launch(struct device *dev, const attention &a, K *kernel, int64_t heads, size_t bytes,
                   const char *operation)
{
    dim3 grid((unsigned)heads, (unsigned)ceil_div(a.rows, OWN_ROWS));
    allow_shared(dev, (const void *)kernel, bytes, operation);
    LAUNCH(kernel, grid, dim3(GROUP_THREADS), bytes, dev->stream, a);
    launched(dev, operation);
    return true;
}

bool wgmma_fwd(struct device *dev, const attention &a)
{
    if (!suits(dev, a)) return false;
    size_t bytes = (size_t)(OWN_ROWS + 4 * KEYS) * a.head_dim * sizeof(elem);
    return launch(dev, a, a.head_dim == 64 ? wgmma_fwd_kernel<64> : wgmma_fwd_kernel<128>, a.heads,
                  bytes, "attention_fwd");
}

bool wgmma_dq(struct device *dev, const attention &a)
{
    if (!suits(dev, a)) return false;
    size_t bytes = (size_t)(2 * OWN_ROWS + (STAGES + 2) * KEYS) * a.head_dim * sizeof(elem);
    return launch(dev, a, a.head_dim == 64 ? wgmma_dq_kernel<64> : wgmma_dq_kernel<128>, a.heads,
                  bytes, "attention_bwd");
}

bool wgmma_dkdv(struct device *dev, const attention &a)
{
    if (!suits(dev, a)) return false;
    size_t bytes = (size_t)(2 * OWN_ROWS + 2 * STAGES * QUERIES) * a.head_dim * sizeof(elem) +
                   STAGES * QUERIES * sizeof(row_stats);
    return launch(dev, a, a.head_dim == 64 ? wgmma_dkdv_kernel<64> : wgmma_dkdv_kernel<128>,
                  a.kv_heads, bytes, "attention_bwd");
}
#endif
