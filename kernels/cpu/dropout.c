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

void dropout_rows(float *out, const float *x, int64_t stride, uint32_t site,
                  int64_t first, int64_t rows, int64_t dim, struct dropout drop)
{
    must(dim % LANES == 0);
    float scale = 1 / (1 - drop.p);
    uint32_t least_kept = threshold(drop.p);
    for (int64_t t = 0; t < rows; t++) {
        const float *row = x + t * stride;
        float *to = out + t * dim;
        uint64_t block = (uint64_t)((drop.first_row + first + t) * dim) / LANES;
#pragma omp simd
        for (int64_t i = 0; i < dim / LANES; i++) {
            struct philox r = philox(drop.key, block + (uint64_t)i, site);
            for (int j = 0; j < LANES; j++)
                to[i * LANES + j] = (r.word[j / 2] >> (j % 2 * 16) & 0xffff) >= least_kept
                                        ? row[i * LANES + j] * scale
                                        : 0;
        }
    }
}
