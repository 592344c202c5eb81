/* nf4.cuh - NF4 as kernels decode it. The two roundings of absmax are part of the format: no fused
 * multiply-add. */
#ifndef LONGQLORA_NF4_CUH
#define LONGQLORA_NF4_CUH

#include "device.cuh"

#define NF4_TABLE static __device__ const
#include "../../lib/common/nf4.h"

struct packed {
    const uint8_t *codes, *absmax;
    const float *nested;
    float offset;
};

/* Both tables in shared memory: a block's threads meet in no bank. */
struct nf4_tables {
    float value[16], map[256];
};

template <int THREADS_> DEVICE void fill_tables(nf4_tables *t)
{
    if (threadIdx.x < 16) t->value[threadIdx.x] = nf4_value[threadIdx.x];
    for (int i = threadIdx.x; i < 256; i += THREADS_)
        t->map[i] = nf4_absmax_value[i];
    block_sync();
}

/* Of a block's 8-bit code and its nested scale. */
DEVICE float nested_absmax(const float *map, uint32_t code, float nested, float offset)
{
    return add_rn(mul_rn(map[code], nested), offset);
}

/* The same; without codes the scale is absmax itself. */
DEVICE float absmax_from(const packed &w, const float *map, uint32_t code, float nested)
{
    return w.absmax ? nested_absmax(map, code, nested, w.offset) : nested;
}

/* absmax of element e's block. */
DEVICE float absmax_of(const packed &w, const float *map, int64_t e)
{
    return w.absmax ? absmax_from(w, map, w.absmax[e / NF4_BLOCK], w.nested[e / NF4_NESTED])
                    : w.nested[e / NF4_BLOCK];
}

/* Eight values, the first code in the high nibble of the first byte. Codes become offsets in bytes,
 * four at once. */
DEVICE void look_up(float *v, uint32_t codes, const float *value)
{
    uint32_t first = codes >> 2 & 0x3c3c3c3c, second = codes << 2 & 0x3c3c3c3c;
#pragma unroll
    for (int b = 0; b < 4; b++) {
        v[2 * b] = *(const float *)((const char *)value + byte_of(first, b));
        v[2 * b + 1] = *(const float *)((const char *)value + byte_of(second, b));
    }
}

#endif
