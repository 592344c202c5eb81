/* online_softmax.cuh - what the tensor-core kernels of attention do with a warp's rows of scores.
 * Lane 4g + t of a warp holds of a 16 × 8 block of scores the rows g and g + 8, columns 2t and 2t
 * + 1.
 */
#ifndef LONGQLORA_ONLINE_SOFTMAX_CUH
#define LONGQLORA_ONLINE_SOFTMAX_CUH

#include "attention.cuh"

#include <cmath>

/* Two neighbouring blocks of eight columns, rounded to elements, as the left side of a product. */
DEVICE void pack_left(uint32_t *left, const float (*two)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        left[i] = pack2(two[i / 2][i % 2 * 2], two[i / 2][i % 2 * 2 + 1]);
}

/* Bases of rows first, first + 1, …, zeros beyond the last; arrives asynchronously. */
template <int QUERIES>
DEVICE void fetch_bases(row_base *base, const attention &a, int head, int first)
{
    int i = threadIdx.x;
    if (i < QUERIES)
        copy8_async(base + i, a.base + (int64_t)head * a.rows + first + i, first + i < a.rows);
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

/* −infinity where a row, mine + 16 · m + 8 · h, does not see a key: keys first, first + 1, … */
template <int M, int N>
DEVICE void hide(float (*s)[N][4], const int32_t *start, int mine, int first, const attention &a)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = mine + m * 16 + h * 8, begin = start[min(row, a.rows - 1)];
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    int key = first + n * 8 + t * 2 + e;
                    if (key > a.past + row || key < begin) s[m][n][2 * h + e] = -INFINITY;
                }
        }
}

/* Zero where a weight's key, mine or mine + 8, is not seen by its row: rows first, first + 1, … */
template <int N>
DEVICE void hide_keys(float (*p)[4], const int32_t *start, int mine, int first, const attention &a)
{
    int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = first + n * 8 + t * 2 + i;
            int begin = start[min(row, a.rows - 1)];
            if (mine > row || mine < begin) p[n][i] = 0;
            if (mine + 8 > row || mine + 8 < begin) p[n][2 + i] = 0;
        }
}

/* The softmax of row g (half 0) or g + 8 (half 1), tile by tile: scores become e^(score − top),
 * which is added to total, this thread's columns of it. Returns what earlier sums are to be
 * multiplied by. */
template <int N>
DEVICE float soften(float (*s)[4], int half, float &top, float &total, float scale2)
{
    float higher = top, part = 0;
#pragma unroll
    for (int n = 0; n < N; n++)
        higher = fmaxf(higher, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    higher = fmaxf(higher, shuffle_xor(higher, 1));
    higher = fmaxf(higher, shuffle_xor(higher, 2));
    float base = higher == -INFINITY ? 0 : higher * scale2;
    float shrink = exp2_fast(top * scale2 - base);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
            s[n][e] = exp2_fast(s[n][e] * scale2 - base);
            part += s[n][e];
        }
    top = higher;
    total = total * shrink + part;
    return shrink;
}

/* Sums of a row over its four lanes. */
DEVICE float row_sum(float x)
{
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
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

#endif
