/* tile.cuh - tiles of 16-bit elements in shared memory, for tensor cores. A tile has rows of C
 * elements. The chunks of 16 bytes in a row are permuted by the row's number, so that ldmatrix
 * reads each bank of shared memory once. */
#ifndef LONGQLORA_TILE_CUH
#define LONGQLORA_TILE_CUH

#include "kernels/cuda/intrinsics.cuh"

#ifndef ELEM_F32
template <int C> DEVICE elem *tile_at(elem *tile, int row, int column)
{
    int exchange = C >= 64 ? row & 7 : row >> 1 & 3;
    return tile + row * C + (((column >> 3) ^ exchange) << 3 | (column & 7));
}

/* Copies the rows first … first + ROWS − 1 of a matrix of C columns to a tile, asynchronously. Rows
 * after the matrix's last row become zeros. THREADS_ threads do it together. Each copies one chunk
 * of every STEP-th row; because STEP is a multiple of 8, these chunks are permuted in the same way.
 * A row of the tile has WIDTH elements. `to` is the place in the tile of this thread's first chunk.
 */
template <int C, int ROWS, int THREADS_, int WIDTH>
DEVICE void fetch_rows(elem *to, const elem *from, int64_t stride, int first, int rows,
                       int thread = (int)threadIdx.x)
{
    constexpr int STEP = THREADS_ / (C / 8);
    static_assert(STEP % 8 == 0 && ROWS % STEP == 0);
    int row = thread / (C / 8), column = thread % (C / 8) * 8;
    const elem *at = from + (first + row) * stride + column;
#pragma unroll
    for (int i = 0; i < ROWS / STEP; i++)
        copy16_async(to + i * STEP * WIDTH, at + i * STEP * stride, first + row + i * STEP < rows);
}

template <int C, int ROWS, int THREADS_>
DEVICE void fetch(elem *tile, const elem *from, int64_t stride, int first, int rows,
                  int thread = (int)threadIdx.x)
{
    elem *to = tile_at<C>(tile, thread / (C / 8), thread % (C / 8) * 8);
    fetch_rows<C, ROWS, THREADS_, C>(to, from, stride, first, rows, thread);
}

/* Copies like the function above, from a matrix of `columns` columns, an even number of at most C.
 * The other columns of the tile become zeros. If columns is no multiple of 8, rows begin at
 * multiples of 4 bytes only. */
template <int C, int ROWS, int THREADS_>
DEVICE void fetch_padded(elem *tile, const elem *from, int64_t stride, int first, int rows,
                         int columns)
{
    constexpr int STEP = THREADS_ / (C / 8);
    static_assert(STEP % 8 == 0 && ROWS % STEP == 0);
    int row = threadIdx.x / (C / 8), column = threadIdx.x % (C / 8) * 8;
    elem *to = tile_at<C>(tile, row, column);
    const elem *at = from + (first + row) * stride + column;
    for (int i = 0; i < ROWS / STEP; i++, to += STEP * C, at += STEP * stride) {
        bool valid = first + row + i * STEP < rows;
        if (columns % 8 == 0) {
            copy16_async(to, at, valid && column < columns);
            continue;
        }
#pragma unroll
        for (int c = 0; c < 8; c += 2)
            copy4_async(to + c, at + c, valid && column + c < columns);
    }
}
#endif

#endif
