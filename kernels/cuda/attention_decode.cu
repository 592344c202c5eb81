/* Attention of one row over a cache of keys and values, for generating text (Flash-Decoding, Dao et
 * al. 2023). It is limited by memory bandwidth.
 *
 * A block reads SPLIT keys of one key/value head. For each query head that shares them it stores
 * the highest score, the sum of the weights and the weighted sum of the values. A second kernel
 * combines the splits in their order. Where the splits begin does not depend on the number of
 * multiprocessors, so the bits do not depend on it either.
 */
#include "kernels/cuda/attention.cuh"

#include <cmath>

enum {
    SPLIT = ATTENTION_SPLIT,
    LANES = 8, /* lanes that share a key */
    BLOCK = 128,
    AHEAD = 4, /* keys, or values, that a thread loads before it uses the first */
    /* The next two are for the kernels on tensor cores. */
    HEADS = 8, /* columns of a product; columns after the last head are zeros */
    KEYS = 16, /* rows of a product */
    WARPS = BLOCK / 32,
};

struct attention_row : attention {
    float *partial; /* [heads, splits, head_dim + 2] the results of each split */
    int splits;
};

DEVICE int start_of(const attention_row &a, int head) { return starts_of(a, head)[0]; }

/* Returns the first split that has a key which the row sees. Blocks for earlier splits end
 * immediately. So with a sliding window the time depends on the window, not on the length of the
 * cache. */
DEVICE int first_split(const attention_row &a)
{
    return min(a.low_heads[0], a.high_heads[0]) / SPLIT;
}

/* Computes score[g][j] for the heads head … head + N − 1 and the keys j of the split. A score is −∞
 * if the row does not see the key. */
template <int N, int WIDTH>
DEVICE void put_scores(float *score, const attention_row &a, const float *q, int head, int count,
                       int kv, int begin)
{
    constexpr int APART = BLOCK / LANES;
    int lane = threadIdx.x % LANES;
    for (int j = threadIdx.x / LANES; j < SPLIT; j += AHEAD * APART) {
        float sum[AHEAD][N] = {};
        for (int c = lane * WIDTH; c < a.head_dim; c += LANES * WIDTH) {
            pack<WIDTH> p[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
                load(p[i], a.k + (int64_t)min(begin + j + i * APART, a.past) * a.k_stride +
                               kv * a.head_dim + c);
#pragma unroll
            for (int g = 0; g < N; g++)
#pragma unroll
                for (int e = 0; e < WIDTH; e++) {
                    float factor = q[min(g, count - 1) * a.head_dim + c + e];
#pragma unroll
                    for (int i = 0; i < AHEAD; i++)
                        sum[i][g] += p[i].v[e] * factor;
                }
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
#pragma unroll
            for (int g = 0; g < N; g++) {
                int at = j + i * APART, key = begin + at;
                for (int mask = LANES / 2; mask; mask /= 2)
                    sum[i][g] += shuffle_xor(sum[i][g], mask);
                bool is_seen = key <= a.past && key >= start_of(a, head + min(g, count - 1));
                if (lane == 0) score[g * SPLIT + at] = is_seen ? sum[i][g] * a.scale : -INFINITY;
            }
    }
}

/* Turns the scores of a head into weights e^(score − row_max). A warp does it for one head. */
DEVICE void softmax_of_split(float *score, float *row_max, float *row_sum)
{
    float new_max = -INFINITY, sum = 0;
    for (int j = threadIdx.x % 32; j < SPLIT; j += 32)
        new_max = fmaxf(new_max, score[j]);
    for (int mask = 16; mask; mask /= 2)
        new_max = fmaxf(new_max, shuffle_xor(new_max, mask));
    for (int j = threadIdx.x % 32; j < SPLIT; j += 32) {
        score[j] = new_max == -INFINITY ? 0 : expf(score[j] - new_max);
        sum += score[j];
    }
    *row_max = new_max;
    *row_sum = warp_sum(sum);
}

/* Processes the heads that share keys and values, N heads at a time. A thread loads WIDTH columns
 * of a key or value at a time. Shared memory: q [N, head_dim], weights [N, SPLIT], and weighted
 * values of each part of the keys [parts, N, head_dim]. */
template <int N, int WIDTH> KERNEL(BLOCK, 1) flash_decode_kernel(const attention_row a)
{
    SHARED_DYNAMIC(memory);
    int c = a.head_dim, columns = c / WIDTH, parts = BLOCK / columns;
    float *q = (float *)memory, *score = q + N * c, *values = score + N * SPLIT;
    int kv = blockIdx.y, group_size = a.heads / a.kv_heads, begin = blockIdx.x * SPLIT;
    if ((int)blockIdx.x < first_split(a)) return;
    for (int head = kv * group_size; head < (kv + 1) * group_size; head += N) {
        int count = min(N, (kv + 1) * group_size - head);
        for (int i = threadIdx.x; i < count * c; i += BLOCK)
            q[i] = widen(a.q[head * c + i]);
        block_sync();
        put_scores<N, WIDTH>(score, a, q, head, count, kv, begin);
        block_sync();
        for (int g = threadIdx.x / 32; g < count; g += BLOCK / 32) {
            float row_max, row_sum;
            softmax_of_split(score + g * SPLIT, &row_max, &row_sum);
            float *to = a.partial + ((int64_t)(head + g) * a.splits + blockIdx.x) * (c + 2) + c;
            if (threadIdx.x % 32 == 0) to[0] = row_max, to[1] = row_sum;
        }
        block_sync();
        int part = threadIdx.x / columns, column = threadIdx.x % columns * WIDTH;
        if (part < parts) {
            float sum[N][WIDTH] = {};
            int end = min((int)SPLIT, a.past + 1 - begin);
            for (int j = part; j < end; j += AHEAD * parts) {
                pack<WIDTH> p[AHEAD];
#pragma unroll
                for (int i = 0; i < AHEAD; i++)
                    load(p[i], a.v + (int64_t)(begin + min(j + i * parts, end - 1)) * a.v_stride +
                                   kv * c + column);
#pragma unroll
                for (int i = 0; i < AHEAD; i++) {
                    if (j + i * parts >= end) break;
#pragma unroll
                    for (int g = 0; g < N; g++) {
                        float weight = score[min(g, count - 1) * SPLIT + j + i * parts];
#pragma unroll
                        for (int e = 0; e < WIDTH; e++)
                            sum[g][e] += weight * p[i].v[e];
                    }
                }
            }
#pragma unroll
            for (int g = 0; g < N; g++)
#pragma unroll
                for (int e = 0; e < WIDTH; e++)
                    values[(part * N + g) * c + column + e] = sum[g][e];
        }
        block_sync();
        for (int i = threadIdx.x; i < count * c; i += BLOCK) {
            float sum = 0;
            for (int p = 0; p < parts; p++)
                sum += values[(p * N + i / c) * c + i % c];
            a.partial[((int64_t)(head + i / c) * a.splits + blockIdx.x) * (c + 2) + i % c] = sum;
        }
    }
}

/* ---- the same on tensor cores ----
 *
 * The query heads that share a key/value head are the columns of a product. Scores are K Qᵀ, of 16
 * keys at a time. Outputs are Vᵀ P, of 16 keys at a time, summed over the keys of a warp. A lane
 * may hold any dimensions of a head, provided that they are the same ones in both operands. So
 * lanes load 16 contiguous bytes of keys and values. The weights are rounded to elem for the
 * product, as in the kernels for many rows. */
#ifndef ELEM_F32
struct key_weights {
    float score[HEADS][SPLIT];
    elem rounded[HEADS][SPLIT + 8]; /* 8 more, so that rows begin in different banks */
};

DEVICE void load_words(uint32_t word[4], const elem *from, bool valid)
{
    uint4 x = load16(from, valid);
    word[0] = x.x, word[1] = x.y, word[2] = x.z, word[3] = x.w;
}

/* Computes the scores of a warp's keys, 16 keys at a time. Lane 4g + q loads the keys g and g + 8
 * and the query of head g; of each 32 dimensions it loads the eight from 8q on. */
template <int DIM>
DEVICE void put_tile_scores(key_weights *w, const attention_row &a, int head, int count, int kv,
                            int begin)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    uint32_t right[DIM / 32][4];
#pragma unroll
    for (int i = 0; i < DIM / 32; i++)
        load_words(right[i], a.q + (head + min(g, count - 1)) * DIM + i * 32 + q * 8, g < count);
    const elem *keys = a.k + kv * DIM + q * 8;
#pragma unroll 1
    for (int at = warp * KEYS; at < SPLIT; at += WARPS * KEYS) {
        uint32_t row[2][DIM / 32][4];
        float sum[4] = {};
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int i = 0; i < DIM / 32; i++)
                load_words(row[r][i],
                           keys + min(begin + at + g + 8 * r, a.past) * a.k_stride + i * 32, true);
#pragma unroll
        for (int i = 0; i < DIM / 32; i++)
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                uint32_t left[4] = { row[0][i][j], row[1][i][j], row[0][i][j + 1],
                                     row[1][i][j + 1] };
                mma(sum, left, right[i][j], right[i][j + 1]);
            }
#pragma unroll
        for (int n = 0; n < 4; n++) {
            int own = at + g + n / 2 * 8, h = 2 * q + n % 2, key = begin + own;
            if (h >= count) continue;
            bool is_seen = key <= a.past && key >= start_of(a, head + h);
            w->score[h][own] = is_seen ? sum[n] * a.scale : -INFINITY;
        }
    }
}

/* Returns the low halves of two words as one word, or the high halves. */
DEVICE uint32_t pair_halves(uint32_t first, uint32_t second, bool is_high)
{
    return is_high ? first >> 16 | (second & 0xffff0000) : (first & 0xffff) | second << 16;
}

/* Computes values[warp][head][dimension]: the values times their weights, summed over a warp's
 * keys, 16 keys at a time. Lane 4g + q loads the values of the keys 2q, 2q + 1, 2q + 8 and 2q + 9;
 * of each 64 dimensions it loads the eight from 8g on. */
template <int DIM>
DEVICE void put_tile_values(float *values, const key_weights *w, const attention_row &a, int count,
                            int kv, int begin)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    float sum[DIM / 16][4] = {};
    const elem *from = a.v + kv * DIM + g * 8;
#pragma unroll 1
    for (int at = warp * KEYS; at < SPLIT; at += WARPS * KEYS) {
        uint32_t row[4][DIM / 64][4];
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int i = 0; i < DIM / 64; i++)
                load_words(row[r][i],
                           from + min(begin + at + 2 * q + r % 2 + r / 2 * 8, a.past) * a.v_stride +
                               i * 64,
                           true);
        const uint32_t *at_weight = (const uint32_t *)&w->rounded[g][at + 2 * q];
        uint32_t right[2] = { g < count ? at_weight[0] : 0, g < count ? at_weight[4] : 0 };
#pragma unroll
        for (int i = 0; i < DIM / 64; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                uint32_t left[4];
#pragma unroll
                for (int n = 0; n < 4; n++)
                    left[n] = pair_halves(row[n / 2 * 2][i][j], row[n / 2 * 2 + 1][i][j], n % 2);
                mma(sum[i * 4 + j], left, right[0], right[1]);
            }
    }
#pragma unroll
    for (int t = 0; t < DIM / 16; t++)
#pragma unroll
        for (int n = 0; n < 4; n++)
            values[(warp * HEADS + 2 * q + n % 2) * DIM + t / 4 * 64 + g * 8 + t % 4 * 2 + n / 2] =
                sum[t][n];
}

template <int DIM> KERNEL(BLOCK, 5) flash_decode_mma_kernel(const attention_row a)
{
    SHARED_DYNAMIC(memory);
    key_weights *w = (key_weights *)memory;
    float *values = (float *)(w + 1);
    int kv = blockIdx.y, group_size = a.heads / a.kv_heads, begin = blockIdx.x * SPLIT;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if ((int)blockIdx.x < first_split(a)) return;
    for (int head = kv * group_size; head < (kv + 1) * group_size; head += HEADS) {
        int count = min((int)HEADS, (kv + 1) * group_size - head);
        put_tile_scores<DIM>(w, a, head, count, kv, begin);
        block_sync();
        for (int h = warp; h < count; h += WARPS) {
            float row_max, row_sum;
            softmax_of_split(w->score[h], &row_max, &row_sum);
            for (int j = lane; j < SPLIT; j += 32)
                w->rounded[h][j] = narrow(w->score[h][j]);
            float *to = a.partial + ((int64_t)(head + h) * a.splits + blockIdx.x) * (DIM + 2) + DIM;
            if (lane == 0) to[0] = row_max, to[1] = row_sum;
        }
        block_sync();
        put_tile_values<DIM>(values, w, a, count, kv, begin);
        block_sync();
        for (int i = threadIdx.x; i < count * DIM; i += BLOCK) {
            float sum = 0;
            for (int p = 0; p < WARPS; p++)
                sum += values[p * HEADS * DIM + i];
            a.partial[((int64_t)(head + i / DIM) * a.splits + blockIdx.x) * (DIM + 2) + i % DIM] =
                sum;
        }
    }
}

template <int DIM> static void launch_flash_decode_mma(struct device *dev, const attention_row &a)
{
    size_t bytes = sizeof(key_weights) + sizeof(float) * WARPS * HEADS * DIM;
    dim3 grid((unsigned)a.splits, (unsigned)a.kv_heads);
    LAUNCH(flash_decode_mma_kernel<DIM>, grid, dim3(BLOCK), bytes, dev->stream, a);
    launched(dev, "attention_decode");
}

/* Returns false if there is no kernel for this head_dim, or if the GPU has no tensor cores for
 * elem. */
static bool flash_decode_mma(struct device *dev, const attention_row &a)
{
    if (!has_tensor_cores(dev) || (uintptr_t)a.q % 16) return false;
    if (a.head_dim == 64)
        launch_flash_decode_mma<64>(dev, a);
    else if (a.head_dim == 128)
        launch_flash_decode_mma<128>(dev, a);
    else
        return false;
    return true;
}
#else
static bool flash_decode_mma(struct device *, const attention_row &) { return false; }
#endif

KERNEL(BLOCK, 1) combine_kernel(const attention_row a)
{
    int head = blockIdx.x, c = a.head_dim, first = first_split(a);
    const float *part = a.partial + (int64_t)head * a.splits * (c + 2);
    float row_max = -INFINITY, row_sum = 0;
    for (int s = first; s < a.splits; s++)
        row_max = fmaxf(row_max, part[s * (c + 2) + c]);
    for (int s = first; s < a.splits; s++)
        row_sum += part[s * (c + 2) + c + 1] * expf(part[s * (c + 2) + c] - row_max);
    for (int i = threadIdx.x; i < c; i += BLOCK) {
        float sum = 0;
        for (int s = first; s < a.splits; s++)
            sum += part[s * (c + 2) + i] * expf(part[s * (c + 2) + c] - row_max);
        a.o[head * c + i] = narrow(sum / row_sum);
    }
    if (threadIdx.x == 0) a.lse[head] = row_max + logf(row_sum);
}

template <int N, int WIDTH>
static void launch_flash_decode(struct device *dev, const attention_row &a)
{
    int parts = BLOCK / (a.head_dim / WIDTH);
    size_t bytes = sizeof(float) * (size_t)(N * (a.head_dim + SPLIT + parts * a.head_dim));
    dim3 grid((unsigned)a.splits, (unsigned)a.kv_heads);
    LAUNCH((flash_decode_kernel<N, WIDTH>), grid, dim3(BLOCK), bytes, dev->stream, a);
    launched(dev, "attention_decode");
}

bool flash_decode(struct device *dev, const attention &a)
{
    /* The number of columns that one load reads: 8, or 2 if heads do not begin at multiples of
     * 16 bytes. */
    int width = a.head_dim % 8 ? 2 : 8;
    if (a.rows != 1 || a.head_dim % width || a.head_dim > CUDA_HEAD_DIM ||
        a.past >= dev->shape.keys || a.heads > dev->shape.heads ||
        !is_wide(a.k, a.k_stride, 8, sizeof *a.k) ||
        (uintptr_t)a.v % min_i64(16, width * (int64_t)sizeof *a.v))
        return false;
    attention_row r = {};
    (attention &)r = a;
    r.partial = dev->splits;
    r.splits = (int)ceil_div(a.past + 1, SPLIT);
    /* If each key has only one query head, memory limits the speed, so tensor cores would not
     * help. */
    bool is_single = a.heads == a.kv_heads;
    if (width == 2 && is_single)
        launch_flash_decode<1, 2>(dev, r);
    else if (width == 2)
        launch_flash_decode<4, 2>(dev, r);
    else if (is_single)
        launch_flash_decode<1, 8>(dev, r);
    else if (!flash_decode_mma(dev, r))
        launch_flash_decode<4, 8>(dev, r);
    LAUNCH(combine_kernel, dim3((unsigned)a.heads), dim3(BLOCK), 0, dev->stream, r);
    launched(dev, "attention_decode");
    return true;
}

void cache_rows(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                int64_t rows)
{
    must(first >= 0 && first + rows <= cache->capacity && cache->type == kernels_cuda.act_type);
    int64_t cols = 2 * cache->kv_heads * cache->head_dim, stride = cache_stride(cache);
    elem *to = (elem *)cache->at + first * stride;
    copy_rows(dev, { (struct act *)to, stride }, kv, rows, cols);
}
