/* Dropout. The mask of an element is a function of key, stream and the number of the element. */
#include "kernels/cpu/vec.h"

#include "lib/common/philox.h"

enum { DRAWS = 8 }; /* random numbers of 16 bits in a block, the result of one call of Philox */

static uint32_t threshold(float p) { return (uint32_t)(p * 65536); }

static void draws_of_one(uint32_t draw[DRAWS], uint64_t key, uint64_t block,
                         uint32_t dropout_stream)
{
    struct philox r = philox(key, block, dropout_stream);
    for (int i = 0; i < DRAWS; i++)
        draw[i] = r.word[i / 2] >> (i % 2 * 16) & 0xffff;
}

void dropout_mask(struct device *dev, uint8_t *keep, uint32_t dropout_stream, int64_t rows,
                  int64_t dim, struct dropout drop)
{
    (void)dev;
    for (int64_t n = 0; n < rows * dim; n++) {
        uint64_t e = (uint64_t)(drop.first_row * dim + n);
        uint32_t draw[DRAWS];
        draws_of_one(draw, drop.key, e / DRAWS, dropout_stream);
        keep[n] = draw[e % DRAWS] >= threshold(drop.p);
    }
}

/* BATCH is the number of blocks that are computed together. */
enum { BATCH = 16, BLOCKS = LANES / 2 /* blocks in a vector */ };
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "draws are taken from words as they lie");

static inline quads first_blocks(void)
{
    quads v = { 0 };
    for (uint64_t i = 0; i < BLOCKS; i++)
        v[i] = i;
    return v;
}

/* Computes the numbers of BATCH consecutive blocks side by side, with the rounds of philox.h. Each
 * 64-bit lane holds a 32-bit word of one block; the upper half of a lane holds garbage until the
 * end. */
static void draws_of(uint16_t draw[BATCH * DRAWS], uint64_t key, uint64_t block,
                     uint32_t dropout_stream)
{
    enum { VECTORS = BATCH / BLOCKS };
    quads c0[VECTORS], c1[VECTORS], c2[VECTORS], c3[VECTORS];
    quads one = first_blocks() + block;
    for (int i = 0; i < VECTORS; i++, one += BLOCKS) {
        c0[i] = one;
        c1[i] = one >> 32;
        c2[i] = (quads){ 0 } + dropout_stream;
        c3[i] = (quads){ 0 };
    }
    quads k0 = (quads){ 0 } + (uint32_t)key, k1 = (quads){ 0 } + (key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; i++) {
            quads p0 = product_of_halves(c0[i], (quads){ 0 } + PHILOX_M0);
            quads p1 = product_of_halves(c2[i], (quads){ 0 } + PHILOX_M1);
            c0[i] = p1 >> 32 ^ c1[i] ^ k0;
            c2[i] = p0 >> 32 ^ c3[i] ^ k1;
            c1[i] = p1;
            c3[i] = p0;
        }
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    for (int i = 0; i < VECTORS; i++) {
        quads low = (c0[i] & 0xffffffff) | c1[i] << 32, high = (c2[i] & 0xffffffff) | c3[i] << 32;
        uint64_t word[BLOCKS][2];
        for (int b = 0; b < BLOCKS; b++) {
            word[b][0] = low[b];
            word[b][1] = high[b];
        }
        memcpy(draw + i * BLOCKS * DRAWS, word, sizeof word);
    }
}

void dropout_patch(float *out, const float *x, int64_t stride, uint32_t dropout_stream,
                   struct patch tile, int64_t dim, struct dropout drop)
{
    float scale = 1 / (1 - drop.p);
    uint16_t keep_threshold = (uint16_t)threshold(drop.p), draw[BATCH * DRAWS];
    for (int64_t t = 0; t < tile.rows; t++) {
        uint64_t first = (uint64_t)((drop.first_row + tile.row + t) * dim + tile.col);
        for (int64_t i = 0, count; i < tile.cols; i += count) {
            const float *from = x + t * stride + i;
            float *to = out + t * tile.cols + i;
            uint64_t e = first + (uint64_t)i;
            /* A row may begin inside a block. */
            const uint16_t *own = draw + e % DRAWS;
            count = min_i64(BATCH * DRAWS - (int64_t)(e % DRAWS), tile.cols - i);
            draws_of(draw, drop.key, e / DRAWS, dropout_stream);
#pragma omp simd
            for (int64_t j = 0; j < count; j++)
                to[j] = own[j] >= keep_threshold ? from[j] * scale : 0;
        }
    }
}

void dropout_add_patch(struct mat dx, float *part, uint32_t dropout_stream, struct patch tile,
                       int64_t dim, struct dropout drop)
{
    dropout_patch(part, part, tile.cols, dropout_stream, tile, dim, drop);
    for (int64_t t = 0; t < tile.rows; t++) {
        float *to = row_of(dx, tile.row + t) + tile.col;
        for (int64_t i = 0; i < tile.cols; i++)
            to[i] += part[t * tile.cols + i];
    }
}
