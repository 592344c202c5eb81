/* attention.h - what attention over a batch and over a cache share. */
#ifndef LONGQLORA_CPU_ATTENTION_H
#define LONGQLORA_CPU_ATTENTION_H

#include "cpu.h"

/* A call. Keys and values are rows of k and v, or of a cache, of which row t sees past + t last. */
struct attention {
    struct device *dev;
    struct mat o, q, k, v, dq, dk, dv, dout;
    const struct cache *cache;
    float *lse;
    struct spans spans;
    int64_t past, rows, heads, kv_heads, head_dim, tiles, ranges;
    float scale;
    bool is_packed;
};

void attention_forward(struct attention *a);

/* Rows of a cache's head in f32, densely: where they lie, or in `room`; heads of values come after
 * those of keys. */
const float *cache_widened(const struct cache *c, int64_t head, int64_t row, int64_t count,
                           float *scratch);

#endif
