/* attention.cuh - the arguments of the attention kernels, and the files in which the kernels are.
 */
#ifndef LONGQLORA_ATTENTION_CUH
#define LONGQLORA_ATTENTION_CUH

#include "kernels/cuda/device.cuh"

static const float log2_e = 1.4426950408889634f;

/* What the backward needs to know about each row of a head: lse · log2 e, and delta = o · dout. */
struct alignas(8) row_stats {
    float lse2, delta;
};

struct attention {
    const elem *q, *k, *v, *dout;
    elem *o, *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride, dout_stride, o_stride, dq_stride, dk_stride, dv_stride;
    float *lse;
    const row_stats *stats; /* [heads, rows] */
    const int32_t *low_heads, *high_heads;
    int split, past, rows, heads, kv_heads, head_dim;
    float scale;
};

DEVICE const int32_t *starts_of(const attention &a, int head)
{
    return head < a.split ? a.low_heads : a.high_heads;
}

/* Can all rows be read and written 16 bytes at a time? An operand that is NULL does not count. */
static inline bool is_all_wide(const attention &a)
{
    const struct {
        const elem *at;
        int64_t stride;
    } all[] = { { a.q, a.q_stride },       { a.k, a.k_stride },   { a.v, a.v_stride },
                { a.o, a.o_stride },       { a.dq, a.dq_stride }, { a.dk, a.dk_stride },
                { a.dout, a.dout_stride }, { a.dv, a.dv_stride } };
    for (const auto &m : all)
        if (!is_wide(m.at, m.stride, 8, sizeof *m.at)) return false;
    return true;
}

/* Attention on tensor cores, in attention_wgmma.cu and attention_mma.cu. These functions return
 * false and do nothing if their kernels do not support the shapes or the GPU. The backward needs
 * a.stats. */
bool wgmma_fwd(struct device *dev, const struct attention &a);
bool wgmma_dq(struct device *dev, const struct attention &a);
bool wgmma_dkdv(struct device *dev, const struct attention &a);
bool mma_fwd(struct device *dev, const struct attention &a);
bool mma_bwd(struct device *dev, const struct attention &a);
/* Attention of a single row, the next token of a text, in attention_decode.cu. This function
 * returns false and does nothing if its kernels do not support the shapes. */
bool flash_decode(struct device *dev, const struct attention &a);

#endif
