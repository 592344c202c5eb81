/* attention.cuh - what the kernels of attention are given.
 */
#ifndef LONGQLORA_ATTENTION_CUH
#define LONGQLORA_ATTENTION_CUH

#include "cuda.cuh"

struct attention {
    const elem *q, *k, *v, *dout;
    elem *o, *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride, dout_stride, o_stride, dq_stride, dk_stride, dv_stride;
    float *lse;
    const float *delta;
    const int32_t *first, *second;
    int split, past, rows, heads, kv_heads, head_dim;
    float scale;
};

DEVICE const int32_t *list_of(const attention &a, int head)
{
    return head < a.split ? a.first : a.second;
}

/* attention_tile.cu: false, and nothing done, where shapes or the GPU do not suit tensor cores. The
 * backward wants delta. */
bool tiles_fwd(struct device *dev, const struct attention &a);
bool tiles_bwd(struct device *dev, const struct attention &a);
/* attention_one.cu: one row of a text; false, and nothing done, where shapes do not suit it. */
bool attention_one(struct device *dev, const struct attention &a);

#endif
