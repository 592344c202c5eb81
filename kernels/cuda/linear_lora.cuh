/* linear_lora.cuh - what the kernels of linear_lora.cu share: the arguments of a launch, masks,
 * tiles of du. */
#ifndef LONGQLORA_LINEAR_LORA_CUH
#define LONGQLORA_LINEAR_LORA_CUH

#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/tile.cuh"

extern "C" {
#include "kernels/cuda_plan.h"
}

enum {
    RANK = LORA_RANK,
    PARTS = LORA_PARTS,
    TILE = LORA_TILE,
    PIECES = LORA_SPLITS,
    /* The number of terms that are added to a sum between two barriers: columns of x for u, rows of
     * x for dA. A tile of dx has the same number of columns. */
    STEP = 64,
    PART_THREADS = 128, /* threads for a part of u or dA; a warp computes 32 rows or columns */
    DX_THREADS = 256,   /* threads of a block for dx */
};

struct lora_launch {
    const elem *x, *a, *du; /* [rows, in], [R, in], [rows, R]; R is the sum of the group's ranks. */
    elem *u, *dx;
    float *partial; /* partial sums: of u, [pieces, rows, ranks], or of dA, [pieces, ranks, in] */
    int64_t x_stride, du_stride, dx_stride;
    int rows, in, piece;           /* A block sums over `piece` columns or rows. */
    int parts, ranks, rank[PARTS]; /* The launch has `parts` parts; ranks is the sum of rank[]. */
    int column[PARTS];             /* A part begins at this column of du and this row of A. */
    int partial_at[PARTS];         /* A part begins at this row (or column) of partial. */
    float *da[PARTS];              /* [rank, in]; NULL if A is frozen. */
    uint32_t dropout_stream[PARTS];
    mask drop;
};

#ifndef ELEM_F32
template <class T> DEVICE T of_part(const T (&v)[PARTS], int part)
{
    return part == 0 ? v[0] : part == 1 ? v[1] : v[2];
}

/* Returns the mask of 32 elements of a row. column is a multiple of 32. Each byte has the mask of
 * eight elements: the even ones in its low half, the odd ones in its high half. */
DEVICE uint32_t kept_word(const lora_launch &t, uint32_t dropout_stream, int row, int column)
{
    uint64_t block = ((t.drop.first_row + (uint64_t)row) * t.in + column) / 8;
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        lanes l = lanes_of(t.drop.key, block + i, dropout_stream);
        uint32_t eight = 0;
#pragma unroll
        for (int j = 0; j < 4; j++)
            eight = eight >> 1 | kept_halves(l.word[j], t.drop.keep_threshold);
        word |= (eight >> 24 | (eight >> 12 & 0xf)) << 8 * i;
    }
    return word;
}

DEVICE void store2(float *to, float first, float second)
{
    *(uint2 *)to = { float_as_bits(first), float_as_bits(second) };
}

/* Loads rows of a part's du. The columns from the part's rank to 64 become zeros. */
template <int ROWS, int THREADS_>
DEVICE void fetch_du(elem *tile, const lora_launch &t, int column, int rank, int first, int thread)
{
    fetch<RANK, ROWS, THREADS_>(tile, t.du + column, t.du_stride, first,
                                thread % (RANK / 8) * 8 < rank ? t.rows : 0, thread);
}
#endif

#endif
