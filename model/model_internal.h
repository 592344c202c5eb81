/* model_internal.h - the model's parts, shared by model.c, placement.c, passes.c and layer.c only.
 */
#ifndef LONGQLORA_MODEL_MODEL_INTERNAL_H
#define LONGQLORA_MODEL_MODEL_INTERNAL_H

#include "model/model.h"

enum { LOGIT_ROWS = 8 }; /* whose logits lie in memory at once */
enum { SLOT_QKV, SLOT_O, SLOT_GATE_UP, SLOT_DOWN };

struct layer {
    struct linear qkv[3], o[1], gate_up[2], down[1];
    const float *attn_gain, *mlp_gain;
    float *dattn_gain, *dmlp_gain; /* NULL: frozen */
};

/* What the backward of a layer needs beside its input. Layers that are recomputed share one, whose
 * h and m hold one chunk; o and lse, and u_down, may be their own all the same, or o and lse one of
 * two that take turns. */
struct activations {
    struct mat qkv; /* [T, q | k | v] */
    struct mat o;   /* [T, attention's output | u of o_proj] */
    struct mat h;   /* [T, d] input of the MLP's half */
    struct mat m;   /* [T, gate | up] */
    float *lse;     /* [H, T] */
    /* [T, R] of these groups; at NULL: made again */
    struct mat u_qkv, u_gate_up, u_down;
};

/* Weights of the source that a device wants a copy of, perhaps in another type. */
struct copied {
    void *to;
    const void *from;
    size_t bytes; /* of the source */
    enum dtype to_type, from_type;
};

/* Layers' inputs, and attention's outputs, that wait on the host: so many take turns in the
 * device's memory. */
enum { INPUT_BUFFERS = 3, ATTENTION_BUFFERS = 2 };

struct offloaded_attention {
    void *o, *lse; /* NULL: not on the host */
};

struct model {
    const struct kernels *k;
    struct device *dev;
    struct config config;
    struct model_setup setup;
    const struct weights *weights;
    struct tensor *table;
    int64_t tensor_count;
    struct adapted *each; /* [tensor_count] */

    struct layer *layers;
    struct linear head;
    const void *embedding;
    enum dtype embedding_type;
    const float *final_gain;
    float *dembedding, *dfinal_gain;
    struct parameters params;

    /* memory: a block of the device's and one of the host's, laid out twice: to count, then to
     * assign */
    struct copied *copied; /* [copied_count], at most three a tensor */
    int64_t copied_count;
    struct block {
        char *at;
        size_t used, bytes;
    } block, host_block;
    struct memory_plan plan;
    float *cos, *sin; /* [positions, c/2]; of dynamic positions [rows, c/2], made anew each batch */
    int64_t rope_rows;
    float *host_cos; /* dynamic: [2, rows, c/2] and the rows' own numbers */
    int32_t *host_row;
    int32_t *id, *target, *position, *first, *second;
    float *nll, *rstd_chunk, *logits;
    struct mat *x; /* [layers + 1] inputs of layers; two take turns in evaluation */
    void **host_x; /* [layers] where they wait on the host; NULL: they stay */
    struct offloaded_attention *host_o; /* [layers] */
    struct activations *activations;    /* [layers] */
    struct cache *cache;                /* [layers] keys and values of the rows so far */
    int64_t cached;                     /* rows in it */
    struct mat n, s, dn, du, grad, dout;

    int64_t rows; /* of the current batch */
    struct dropout drop;
    bool checks; /* model_find_fault is at work */
};

/* What the setup says of each tensor. */
int placement_list_adapted(struct model *m, struct fail *why);
int placement_list_parameters(struct model *m, struct fail *why);
void placement_lay_out(struct model *m);
struct shape shape_of(const struct model *m);
bool placement_is_trained(const struct model *m, const struct tensor *t);

int64_t group_rank_of(const struct linear *at, int count);
struct group group_of(const struct linear *at, int count, int slot);

void layer_forward(struct model *m, int64_t index);
/* m->grad: in, the gradient of the layer's output; out, of its input. */
void layer_backward(struct model *m, int64_t index);

static inline size_t output_bytes(const struct model *m, int64_t rows)
{
    return (size_t)(rows * m->activations[0].o.stride * m->k->act_bytes);
}

/* [H, T] of a batch, in rows of which there are as many as the batch has. */
static inline size_t lse_bytes(const struct model *m)
{
    return (size_t)(m->config.heads * m->setup.rows) * sizeof(float);
}

/* Rows of the chunk that begins at `first`. */
static inline int64_t chunk_size(const struct model *m, int64_t first)
{
    return m->rows - first < m->setup.chunk ? m->rows - first : m->setup.chunk;
}

static inline bool layer_is_stored(const struct model *m, int64_t index)
{
    return index >= m->config.layers - m->setup.stored_layers;
}

/* In the device's memory, for itself alone. */
static inline bool attention_is_stored(const struct model *m, int64_t index)
{
    return index >= m->config.layers - m->setup.stored_layers - m->setup.stored_attention;
}

#endif
