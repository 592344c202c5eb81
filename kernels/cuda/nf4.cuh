/* nf4.cuh - decoding NF4 in kernels. The format defines that absmax is rounded twice, so
 * multiply-adds are not fused. */
#ifndef LONGQLORA_NF4_CUH
#define LONGQLORA_NF4_CUH

#include "kernels/cuda/intrinsics.cuh"

#define NF4_TABLE static __device__ const
#include "lib/common/nf4.h"

struct nf4_weight {
    const uint8_t *codes, *absmax;
    const float *absmax_scale;
    float offset;
};

/* Both tables, in shared memory. The 16 values lie in 16 banks. */
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

/* Decodes the absmax of a block from its 8-bit code and its scale. */
DEVICE float nested_absmax(const float *map, uint32_t code, float absmax_scale, float offset)
{
    return add_rn(mul_rn(map[code], absmax_scale), offset);
}

/* Returns the absmax of a block of w. Without double quantization, absmax_scale is absmax
 * itself. */
DEVICE float absmax_from(const nf4_weight &w, const float *map, uint32_t code, float absmax_scale)
{
    return w.absmax ? nested_absmax(map, code, absmax_scale, w.offset) : absmax_scale;
}

/* Returns the absmax of the block of element e. */
DEVICE float absmax_of(const nf4_weight &w, const float *map, int64_t e)
{
    return w.absmax ? absmax_from(w, map, w.absmax[e / NF4_BLOCK], w.absmax_scale[e / NF4_NESTED])
                    : w.absmax_scale[e / NF4_BLOCK];
}

/* Decodes eight values; the first code is in the high nibble of the first byte. Four codes are
 * shifted together, so that they become offsets in bytes. */
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
