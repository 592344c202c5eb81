/* linear.cuh - the biases of a group of linear layers, which kernels add to its outputs. */
#ifndef LONGQLORA_LINEAR_CUH
#define LONGQLORA_LINEAR_CUH

#include "kernels/cuda/rowwise.cuh"

/* The biases of a group, side by side like its outputs. bias NULL: zeros. */
struct biases {
    const float *bias[MAX_GROUP];
    int out[MAX_GROUP], count, outs;
    bool has; /* Some linear layer of the group has a bias. */
};

/* *wide becomes true if a kernel may load eight biases at a time. */
static inline biases biases_of(const struct group *g, bool *wide)
{
    biases b = {};
    *wide = true;
    must(g->count <= MAX_GROUP);
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        b.bias[i] = l->bias, b.out[i] = (int)l->out, b.outs += (int)l->out;
        b.has = b.has || l->bias;
        *wide = *wide && l->out % 8 == 0 && (uintptr_t)l->bias % 16 == 0;
    }
    b.count = g->count;
    return b;
}

/* Returns the address of the bias of the group's output i, or NULL if it has none. */
DEVICE const float *bias_at(const biases &b, int i)
{
    const float *bias = b.bias[0];
#pragma unroll
    for (int l = 0; l + 1 < MAX_GROUP; l++) {
        if (l + 1 >= b.count || i < b.out[l]) break;
        i -= b.out[l], bias = b.bias[l + 1];
    }
    return bias ? bias + i : NULL;
}

#endif
