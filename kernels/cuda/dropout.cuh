/* dropout.cuh - dropout masks with the bits of the CPU's: Philox4x32-10 (lib/common/philox.h). An
 * element uses 16 random bits, so one call gives the mask of eight neighbours. */
#ifndef LONGQLORA_DROPOUT_CUH
#define LONGQLORA_DROPOUT_CUH

#include "kernels/cuda/intrinsics.cuh"

/* A struct dropout in the form that kernels use. */
struct mask {
    uint64_t key, first_row;
    uint32_t keep_threshold;
    float scale; /* 1 / (1 − p) */
};
static inline mask mask_of(struct dropout drop)
{
    return { drop.key, (uint64_t)drop.first_row, (uint32_t)(drop.p * 65536), 1 / (1 - drop.p) };
}

/* The result of one call: eight numbers of 16 bits, two in a word, the first in the low half. */
struct lanes {
    uint32_t word[4];
    DEVICE_MEMBER uint32_t of(uint32_t i) const { return word[i / 2] >> (i % 2 * 16) & 0xffff; }
};

DEVICE lanes lanes_of(uint64_t key, uint64_t block, uint32_t dropout_stream)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = dropout_stream, c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint32_t h0 = mul_high(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        uint32_t h1 = mul_high(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return { { c0, c1, c2, c3 } };
}

/* Compares both halves of a word with keep_threshold in one subtraction. In the result, the highest
 * bit of each half says whether that element is kept. The comparison leaves out the highest bits
 * first, so that neither half borrows from the other. */
DEVICE uint32_t kept_halves(uint32_t word, uint32_t keep_threshold)
{
    uint32_t threshold = keep_threshold * 0x10001u, high = 0x80008000u;
    uint32_t rest = (word | high) - (threshold & ~high);
    return ((word & ~threshold) | (~(word ^ threshold) & rest)) & high;
}

/* Applies the mask to the elements e … e + N − 1, which must belong to one call of Philox. */
template <int N>
DEVICE void apply_mask(pack<N> &p, const mask &m, uint32_t dropout_stream, uint64_t e)
{
    lanes l = lanes_of(m.key, e / 8, dropout_stream);
#pragma unroll
    for (int j = 0; j < N; j++)
        p.v[j] = l.of((N == 8 ? 0 : e % 8) + j) >= m.keep_threshold ? p.v[j] * m.scale : 0;
}

#endif
