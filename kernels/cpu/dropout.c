#include "cpu.h"

#include "../../lib/common/philox.h"

enum { LANES = 8 }; /* 16-bit lanes of one Philox call */

static uint32_t threshold(float p) { return (uint32_t)(p * 65536); }

static void keep_lanes(uint32_t lane[LANES], uint64_t key, uint64_t block, uint32_t site)
{
    struct philox r = philox(key, block, site);
    for (int i = 0; i < LANES; i++)
        lane[i] = r.word[i / 2] >> (i % 2 * 16) & 0xffff;
}

void dropout_mask(struct device *dev, uint8_t *keep, uint32_t site, int64_t rows, int64_t dim,
                  struct dropout drop)
{
    (void)dev;
    for (int64_t n = 0; n < rows * dim; n++) {
        uint64_t e = (uint64_t)(drop.first_row * dim + n);
        uint32_t lane[LANES];
        keep_lanes(lane, drop.key, e / LANES, site);
        keep[n] = lane[e % LANES] >= threshold(drop.p);
    }
}

/* The lanes of BATCH consecutive blocks, side by side: philox.h's rounds on vectors of
 * 64-bit words, whose upper halves stay zero between rounds. */
enum { BATCH = 16 };
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lanes are taken from words as they lie");

static void lanes_of(uint16_t lane[BATCH * LANES], uint64_t key, uint64_t block, uint32_t site)
{
    uint64_t c0[BATCH], c1[BATCH], c2[BATCH], c3[BATCH];
    uint64_t k0 = (uint32_t)key, k1 = key >> 32;
    uint32_t word[BATCH][4];
    for (uint64_t i = 0; i < BATCH; i++) {
        c0[i] = (uint32_t)(block + i);
        c1[i] = (block + i) >> 32;
        c2[i] = site;
        c3[i] = 0;
    }
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int i = 0; i < BATCH; i++) {
            uint64_t p0 = PHILOX_M0 * c0[i], p1 = PHILOX_M1 * c2[i];
            c0[i] = p1 >> 32 ^ c1[i] ^ k0;
            c2[i] = p0 >> 32 ^ c3[i] ^ k1;
            c1[i] = p1 & 0xffffffff;
            c3[i] = p0 & 0xffffffff;
        }
        k0 = (uint32_t)(k0 + PHILOX_W0);
        k1 = (uint32_t)(k1 + PHILOX_W1);
    }
    for (int i = 0; i < BATCH; i++) {
        word[i][0] = (uint32_t)c0[i];
        word[i][1] = (uint32_t)c1[i];
        word[i][2] = (uint32_t)c2[i];
        word[i][3] = (uint32_t)c3[i];
    }
    memcpy(lane, word, sizeof word);
}

void dropout_patch(float *out, const float *x, int64_t stride, uint32_t site, struct patch tile,
                   int64_t dim, struct dropout drop)
{
    must(dim % LANES == 0 && tile.col % LANES == 0);
    float scale = 1 / (1 - drop.p);
    uint16_t least_kept = (uint16_t)threshold(drop.p), lane[BATCH * LANES];
    for (int64_t t = 0; t < tile.rows; t++) {
        uint64_t block = (uint64_t)((drop.first_row + tile.row + t) * dim + tile.col) / LANES;
        for (int64_t i = 0; i < tile.cols; i += BATCH * LANES) {
            const float *from = x + t * stride + i;
            float *to = out + t * tile.cols + i;
            int64_t count = least(BATCH * LANES, tile.cols - i);
            lanes_of(lane, drop.key, block + (uint64_t)(i / LANES), site);
#pragma omp simd
            for (int64_t j = 0; j < count; j++)
                to[j] = lane[j] >= least_kept ? from[j] * scale : 0;
        }
    }
}
