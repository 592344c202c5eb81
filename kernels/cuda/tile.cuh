/* tile.cuh - tiles of 16-bit elements in shared memory for the tensor cores: rows of C elements,
 * chunks of 16 bytes exchanged with the row's number, so that ldmatrix meets every bank once. */
#ifndef LONGQLORA_TILE_CUH
#define LONGQLORA_TILE_CUH

#include "device.cuh"

#ifndef ELEM_F32
template <int C> DEVICE elem *tile_at(elem *tile, int row, int column)
{
    int exchange = C >= 64 ? row & 7 : row >> 1 & 3;
    return tile + row * C + (((column >> 3) ^ exchange) << 3 | (column & 7));
}

/* Rows first … first + ROWS of a matrix, zeros beyond the last; arrives asynchronously. */
template <int C, int ROWS, int THREADS_>
DEVICE void fetch(elem *tile, const elem *from, int64_t stride, int first, int rows)
{
    for (int i = threadIdx.x; i < ROWS * C / 8; i += THREADS_) {
        int row = i / (C / 8), column = i % (C / 8) * 8;
        bool is_there = first + row < rows;
        copy16_async(tile_at<C>(tile, row, column),
                     from + (is_there ? first + row : 0) * stride + column, is_there);
    }
}
#endif

#endif
