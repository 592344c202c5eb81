/* online_softmax.cuh - what the tensor-core kernels of attention do with a warp's rows of scores.
 *
 * Lane 4g + t of a warp holds, of each 16 × 8 block of scores, the rows g and g + 8, columns 2t and
 * 2t + 1.
 */
#ifndef LONGQLORA_ONLINE_SOFTMAX_CUH
#define LONGQLORA_ONLINE_SOFTMAX_CUH

#include "kernels/cuda/attention.cuh"

#include <cmath>

/* Rounds two neighbouring 16 × 8 blocks to elem. Together they are a left operand of mma. */
DEVICE void pack_left(uint32_t *left, const float (*two)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        left[i] = pack2(two[i / 2][i % 2 * 2], two[i / 2][i % 2 * 2 + 1]);
}

/* Loads the row_stats of the rows first, first + 1, … asynchronously. Rows after the last get
 * zeros. */
template <int QUERIES>
DEVICE void fetch_row_stats(row_stats *stats, const attention &a, int head, int first)
{
    int i = threadIdx.x;
    if (i < QUERIES)
        copy8_async(stats + i, a.stats + (int64_t)head * a.rows + first + i, first + i < a.rows);
}

/* Writes row g (half 0) or g + 8 (half 1) of a warp's sums, times factor, to memory. It writes only
 * the first `columns` of the C columns; `columns` is even. */
template <int C>
DEVICE void store_row(elem *to, const float (*sum)[4], int half, float factor, int columns = C)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int c = 0; c < C / 8; c++)
        if (columns == C || c * 8 + t * 2 < columns)
            ((uint32_t *)to)[c * 4 + t] =
                pack2(sum[c][2 * half] * factor, sum[c][2 * half + 1] * factor);
}

/* Sets scores to −∞ where a row does not see a key. This lane's rows are row0 + 16 · m + 8 · h; the
 * keys are first, first + 1, … */
template <int M, int N>
DEVICE void mask_scores(float (*s)[N][4], const int32_t *start, int row0, int first,
                        const attention &a)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = row0 + m * 16 + h * 8, begin = start[min(row, a.rows - 1)];
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    int key = first + n * 8 + t * 2 + e;
                    if (key > a.past + row || key < begin) s[m][n][2 * h + e] = -INFINITY;
                }
        }
}

/* Sets transposed weights to 0 where a row does not see a key. This lane's keys are key0 and key0 +
 * 8; the rows are first, first + 1, … */
template <int N>
DEVICE void mask_keys(float (*p)[4], const int32_t *start, int key0, int first, const attention &a)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = first + n * 8 + t * 2 + i;
            int begin = start[min(row, a.rows - 1)];
            if (key0 > row || key0 < begin) p[n][i] = 0;
            if (key0 + 8 > row || key0 + 8 < begin) p[n][2 + i] = 0;
        }
}

/* Continues the softmax of row g (half 0) or g + 8 (half 1) with one more tile of products q · k.
 * Each product becomes 2^(scale2 · (product − row_max)), and these are added to row_sum, which
 * holds this thread's columns only. scale2 is the scale of the scores times log2 e. Returns the
 * factor for the row's earlier sums. */
template <int N>
DEVICE float online_softmax(float (*s)[4], int half, float &row_max, float &row_sum, float scale2)
{
    float new_max = row_max, part = 0;
#pragma unroll
    for (int n = 0; n < N; n++)
        new_max = fmaxf(new_max, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    new_max = fmaxf(new_max, shuffle_xor(new_max, 1));
    new_max = fmaxf(new_max, shuffle_xor(new_max, 2));
    float scaled_max = new_max == -INFINITY ? 0 : new_max * scale2;
    float rescale = exp2_fast(row_max * scale2 - scaled_max);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
            s[n][e] = exp2_fast(s[n][e] * scale2 - scaled_max);
            part += s[n][e];
        }
    row_max = new_max;
    row_sum = row_sum * rescale + part;
    return rescale;
}

/* Returns the sum over the four lanes that share a row. */
DEVICE float sum_over_lanes(float x)
{
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
}

/* Returns the last query whose first key, start[query], is not after `key`. start does not
 * decrease, so a binary search finds it. */
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

#endif
