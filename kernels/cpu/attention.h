/* attention.h - what attention over a batch and attention over a cache share. */
#ifndef LONGQLORA_CPU_ATTENTION_H
#define LONGQLORA_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"

/* One call of an operation. Keys and values are the rows of k and v, or those of a cache; in a
 * cache, row t sees the keys up to past + t. */
struct attention {
    struct device *dev;
    struct mat o, q, k, v, dq, dk, dv, dout;
    const struct cache *cache;
    float *lse;
    struct attention_starts starts;
    int64_t past, rows, heads, kv_heads, head_dim, tiles, ranges;
    float scale;
    bool is_packed;
};

void attention_forward(struct attention *a);

/* Returns `count` rows of one head of the cache as dense f32: the cache itself if it is f32, else
 * `scratch` after converting to it. Heads 0 … K − 1 are keys, heads K … 2K − 1 are values. */
const float *cache_widened(const struct cache *c, int64_t head, int64_t row, int64_t count,
                           float *scratch);

#endif
