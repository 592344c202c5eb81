/* model_internal.h - the parts of a model. Only model.c, parameters.c, placement.c, parts.c,
 * gradients.c, exchange.c, gather.c, segments.c, heads.c, neighbours.c, passes.c, tables.c,
 * shape.c, fp8_error.c and layer.c include it.
 */
#ifndef LONGQLORA_MODEL_MODEL_INTERNAL_H
#define LONGQLORA_MODEL_MODEL_INTERNAL_H

#include "model/segments.h"

enum { LOGIT_ROWS = 8 }; /* rows whose logits are in memory together */
enum { SLOT_QKV, SLOT_O, SLOT_GATE_UP, SLOT_DOWN, SLOT_EMBEDDING, SLOT_HEAD };
/* The parameters of a section begin at a multiple of this many values, and so do the gradients of a
 * batch, because matrix products may depend on the alignment of their result, up to 256 bytes. */
enum { SECTION_ALIGNMENT = 64 };

struct layer {
    struct linear qkv[3], o[1], gate_up[2], down[1];
    int qkv_count, gate_up_count; /* 1 if one linear layer computes them all, else 3 and 2 */
    /* [d] gains of the norms before attention and MLP; NULL if the model has none there */
    const float *attn_gain, *mlp_gain;
    /* [c] gains of the QK norm, if the model has one; [H·c] and [K·c] if it joins all heads */
    const float *q_gain, *k_gain;
    /* [d] gains of the norms after attention and MLP, if the model has them */
    const float *attn_post_gain, *mlp_post_gain;
    /* the gradients of these gains; NULL if the gain is frozen */
    float *dattn_gain, *dmlp_gain, *dq_gain, *dk_gain, *dattn_post_gain, *dmlp_post_gain;
};

/* Activations that a layer's backward reads in addition to the layer's input. u = x Aᵀ is the
 * product with LoRA's A. Recomputed layers share one set, in which h and m hold one chunk. A
 * recomputed layer may still own its o, lse and u_down. If the outputs of attention are offloaded
 * to the host, the layers use two buffers for o and lse in turn. */
struct activations {
    /* [T, q | k | v]; if the model has a QK norm, q and k before it. */
    struct mat qkv;
    struct mat o; /* [T, attention's output | u of o_proj] */
    struct mat h; /* [T, d] input of the MLP's norm */
    struct mat m; /* [T, gate | up] */
    float *lse;   /* [H, T] log-sum-exp of the scores */
    /* [T, R] copies of the groups' u; if `at` is NULL, the backward recomputes u */
    struct mat u_qkv, u_gate_up, u_down;
};

/* A frozen weight that is copied from the source to the device, perhaps to another type. */
struct weight_copy {
    void *to;
    const void *from;
    size_t bytes; /* size in the source */
    enum dtype to_type, from_type;
    bool adds_one; /* each value becomes 1 + value; to_type is f32 */
};

/* The gain of a trained norm, in a model whose norms multiply by 1 + weight: to = 1 + from [count].
 * Each forward computes it anew. */
struct plus_one_gain {
    float *to;
    const float *from;
    int64_t count;
};

/* Number of buffers in the device's memory that offloaded inputs, and offloaded outputs of
 * attention, use in turn. */
enum { INPUT_BUFFERS = 3, ATTENTION_BUFFERS = 2 };

struct offloaded_attention {
    void *o, *lse; /* their places on the host; NULL if this layer's output is not offloaded */
};

/* Where the gradients of a section are computed (gradients.c). */
struct gradient_place {
    float *at; /* where the pointers of the layers and tables point now */
    /* Where the gradients of a batch are computed, unless it is the first batch of a block that is
     * summed in the flat array or in `block`. [count], or with segments [count] for each segment of
     * this rank. Zeroed before each use. All layers share one place, or two if several ranks share
     * the run and a block is one batch. NULL if one rank computes one batch in one segment. */
    float *scratch;
    /* [count] the sum of a block's batches; NULL if no block needs a place of its own */
    float *block;
};

/* Messages with gradients that are under way. */
enum { EXCHANGES = 2 };
struct exchange {
    float *received; /* [parts, slice] what the other ranks sent */
    /* [parts, slice] on the host. If messages are direct, `in` is `received`, and `out` NULL. */
    float *in, *out;
    int64_t section, offset; /* section -1: nothing is under way */
};

/* What measures the error of fp8. y [FP8_ERROR_ROWS, widest group] is a product; f32 [2, values]
 * has a product as without fp8, then in fp8, and host [2, values] the same in the host's memory. */
struct fp8_compared {
    struct mat y;
    float *f32, *host;
    int64_t values;
    bool is_due;   /* the forward measures */
    int64_t count; /* groups whose error is known */
    struct fp8_error error;
};

struct model {
    const struct kernels *k;
    struct device *dev;
    struct config config;
    struct model_setup setup;
    const struct weights *weights;
    struct tensor *table;
    int64_t tensor_count;
    struct adapted *each; /* [tensor_count] says how tensor i of `table` is adapted */

    struct layer *layers;
    struct linear head;
    /* The A of the head's adapter, as a linear layer without outputs: lora_down computes u with it.
     * The rank is 0 if the head has no adapter. */
    struct linear head_down;
    const void *embedding;
    enum dtype embedding_type;
    struct embedding_lora {
        /* [V, r], PEFT's lora_embedding_A transposed, so that a token's values are neighbours */
        const float *a;
        float *da;
        struct linear up; /* from r to d columns; its weight is PEFT's lora_embedding_B [d, r] */
        float scale;
        int64_t rank; /* 0: the embedding has no adapter */
    } embedding_lora;
    const float *final_gain;
    float *dembedding, *dfinal_gain;
    struct parameters params;
    struct gradient_place *places; /* [section_count] */
    int64_t *section_of_layer;     /* [layers] -1: nothing is trained in this layer */
    int64_t batches;               /* batches of this update in the rounds that are done */
    int64_t of_block;              /* batches of this rank's block whose gradients are summed */
    /* the squares of the pieces of this rank's gradient, and on the host those of all ranks */
    double *squares, *host_squares;
    struct exchange exchange[EXCHANGES];
    struct segments segments;
    struct shared_heads heads;
    struct neighbours neighbours;
    struct ranks_message *messages; /* [4 * parts] */
    int *signals;       /* [EXCHANGES, parts] the signal that asked each rank to stop; 0: none */
    int agreed;         /* the signal by which all ranks stop; 0: none */
    int64_t slice;      /* largest number of values of a part in one exchange */
    char where[64];     /* "step 41" */
    struct fail failed; /* the first failure of an exchange */
    bool has_failed;

    /* Memory is one block of the device and one of the host. placement_plan runs twice: the
     * first time it counts, the second time it assigns addresses. */
    struct weight_copy *copied; /* [copied_count], at most three for each tensor */
    int64_t copied_count;
    struct plus_one_gain *gains; /* [gain_count], at most one for each tensor */
    int64_t gain_count;
    float *ones; /* [widest_gain] all 1; only if norms add one and the model is trained */
    struct block {
        char *at;
        size_t used, bytes;
    } block, host_block;
    struct memory_plan plan;
    /* Tables of RoPE, [positions, n/2] with n = rotary_dim. If the angles depend on the text's
     * length, the tables are [rows, n/2] and each batch computes them again. */
    float *cos, *sin;
    /* The same for layers with local_theta, if the model has such layers. */
    float *local_cos, *local_sin;
    int64_t rope_rows; /* rows of these tables */
    /* Only if the angles depend on the text's length. host_cos [2, rows, n/2] has the cosines, then
     * the sines. host_row [rows] is 0, 1, 2, …, which rope_apply gets as positions. */
    float *host_cos;
    int32_t *host_row;
    int32_t *id, *target, *position; /* [T] */
    /* [T] the first key of each row, for the low and for the high heads */
    int32_t *low_starts, *high_starts;
    /* The same for layers with a window. The host computes both in host_starts [2, rows]. */
    int32_t *window_low_starts, *window_high_starts, *host_starts;
    float *nll, *rstd_chunk, *logits; /* [T], [chunk], [LOGIT_ROWS, V] */
    struct mat *x; /* [layers + 1] the layers' inputs; evaluation uses two buffers in turn */
    /* [layers + 1] the inputs' places on the host; NULL if an input is not offloaded */
    void **host_x;
    struct offloaded_attention *host_o; /* [layers] */
    struct activations *activations;    /* [layers] */
    struct cache *cache;                /* [layers] keys and values of all rows so far */
    int64_t cached;                     /* rows in the cache */
    /* Buffers of one chunk. n [chunk, d + R]: a norm's output; s [chunk, f + R]: SwiGLU's output;
     * each has u in the columns on its right. dn, which may be s, is the gradient of n, and du the
     * gradient of u. */
    struct mat n, s, dn, du;
    /* [chunk, d] output of attention or MLP before its norm or its factor; in the backward the
     * gradient of this output. Only in models with norms after attention and MLP, or with a
     * residual_scale. */
    struct mat product;
    struct mat grad; /* [T, d] gradient of a layer's output, then of its input */
    struct mat dout; /* [T, H·c] gradient of the output of attention */
    /* [T, q | k] of the current layer, normalised and rotated; only in models with a QK norm */
    struct mat qk;

    struct fp8_compared fp8;

    int64_t rows; /* rows of the current batch that this rank computes */
    struct dropout drop;
    bool checks; /* model_find_nonfinite is running, so activations are checked */
};

/* placement_list_adapted fills m->each, parameters_list fills m->params.
 * placement_plan counts the memory that the model needs, or assigns it once the blocks are
 * allocated. */
int placement_list_adapted(struct model *m, struct fail *why);
int parameters_list(struct model *m, struct fail *why);
void placement_plan(struct model *m);
struct shape shape_of(const struct model *m);
/* Returns the largest rank of a slot's group over all layers. The rank of a group is the sum over
 * its linear layers. */
int64_t slot_rank(const struct model *m, int slot);
bool placement_is_trained(const struct model *m, const struct tensor *t);

int64_t group_rank_of(const struct linear *at, int count);

/* gradients.c. gradients_plan allocates the memory and says where the first batch's gradients are.
 * gradients_sum returns where the batches of this rank's block are summed. The other functions are
 * called before and after a batch's loss and backward, and before and after the backward of each of
 * its layers. */
void gradients_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t));
void gradients_move(struct model *m, int64_t index, float *to);
float *gradients_sum(const struct model *m, int64_t index);
void gradients_begin_batch(struct model *m);
void gradients_begin_layer(struct model *m, int64_t index);
void gradients_end_layer(struct model *m, int64_t index);
void gradients_end_batch(struct model *m);

/* parts.c. parts_of returns a rank's part of a section, without `at`; parts_list fills in what this
 * rank owns. parts_pieces returns how many pieces of squares a rank's parts have. */
bool parts_are_shared(const struct model *m);
int64_t parts_count(const struct model *m);
struct owned parts_of(const struct section *s, int64_t number, int64_t parts);
void parts_list(struct model *m);
int64_t parts_pieces(const struct model *m, int64_t number);
int64_t parts_all_pieces(const struct model *m);
double parts_add_squares(const struct model *m, const double *all);

/* exchange.c. exchange_active returns how many groups of ranks have a block in this round; without
 * segments a group is one rank. exchange_begin begins to send a section's gradients to their
 * owners, and exchange_end adds what came. exchange_bytes returns how many bytes all ranks send in
 * an update. */
void exchange_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                   void *(*alloc_host)(struct model *, enum memory, size_t));
int exchange_status(struct model *m, struct fail *why);
int64_t exchange_active(const struct model *m);
uint64_t exchange_bytes(const struct model *m);
void exchange_begin(struct model *m, int64_t index, int number, int64_t offset);
void exchange_end(struct model *m, int number);
void exchange_table(struct model *m, int64_t index);
/* Do messages lie where operations compute? Otherwise they pass through the host's memory. */
bool exchange_is_direct(const struct model *m);
/* A message whose memory is the device's, or the host's if messages pass through that. */
struct ranks_message exchange_message(const struct model *m, int64_t peer, void *at, size_t bytes);
void exchange_begin_messages(struct model *m, int ticket, const struct ranks_message *in,
                             int in_count, const struct ranks_message *out, int out_count);
void exchange_wait(struct model *m, int ticket);
/* Returns the values of a rank's part from `offset` on, as many as one exchange has. */
struct owned exchange_slice_of(const struct model *m, const struct section *s, int64_t rank,
                               int64_t offset);
/* Adds values [count] to a sum, or stores them if they are its first. */
void exchange_add(struct model *m, float *sum, const float *from, int64_t count, bool is_first);
int exchange_squares(struct model *m, double *all, struct fail *why);

/* segments.c. segments_set reads the setup. segments_take finds the rows of a batch that this rank
 * computes; segments_rows_of returns those of any rank of the group, by its number there.
 * segments_at_row is called before the rows from `row` on add to the gradients of a section.
 * segments_send and segments_add are exchange_begin and exchange_end for several segments. */
bool segments_are_several(const struct model *m);
bool segments_are_shared(const struct model *m);
void segments_set(struct model *m);
int segments_open(struct model *m, struct fail *why);
void segments_close(struct model *m);
void segments_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                   void *(*alloc_host)(struct model *, enum memory, size_t));
void segments_take(struct model *m, const struct batch *batch);
int64_t segments_rows_of(const struct model *m, int64_t number, int64_t *first);
size_t segments_scratch_bytes(const struct model *m, const struct section *s);
void segments_at_row(struct model *m, int64_t index, int64_t row);
void segments_at_row_of_tables(struct model *m, int64_t row);
void segments_fold(struct model *m, int64_t index);
void segments_send(struct model *m, int64_t index, int number, int64_t offset);
void segments_add(struct model *m, int number);

/* Matrices with the columns of all heads. */
struct heads {
    struct mat q, k, v;
};

/* heads.c. heads_attend is attention_fwd, and heads_attend_backward is attention_bwd, for a sample
 * that several ranks share. With a cache, heads_attend is cache_rows and attention_decode. The
 * backward writes dq to o, dk to k and dv to v. is_recomputed: heads_attend was called for this
 * layer just before. */
void heads_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                void *(*alloc_host)(struct model *, enum memory, size_t));
void heads_attend(struct model *m, struct mat o, float *lse, struct heads h,
                  const struct cache *cache, struct attention_starts starts);
void heads_attend_backward(struct model *m, struct mat o, const float *lse, struct heads h,
                           struct attention_starts starts, bool is_recomputed);

/* neighbours.c, which heads.c calls for batches that are exchanged by groups. neighbours_bytes
 * returns how many bytes the ranks send each other for one layer and the longest sample.
 * neighbours_take finds the rows that this rank computes of a batch. */
void neighbours_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                     void *(*alloc_host)(struct model *, enum memory, size_t));
uint64_t neighbours_bytes(const struct model *m);
void neighbours_take(struct model *m, const struct batch *batch);
bool neighbours_are_used(const struct model *m);
void neighbours_attend(struct model *m, struct mat o, float *lse, struct heads h,
                       struct attention_starts starts);
void neighbours_attend_backward(struct model *m, struct mat o, const float *lse, struct heads h,
                                struct attention_starts starts, bool is_recomputed);

/* tables.c. tables_embed computes x[0] from m->id. tables_embed_backward adds to the gradients of
 * the embedding; m->grad is the gradient of x[0]. tables_loss computes the loss of the chunk's rows
 * from m->n, the normalised output of the last layer; with dscale > 0 also m->dn, the gradient of
 * m->n. tables_logits computes the logits of `rows` rows of m->n into m->logits. */
void tables_embed(struct model *m);
void tables_embed_backward(struct model *m);
void tables_loss(struct model *m, int64_t first, int64_t rows, float dscale);
void tables_logits(struct model *m, int64_t rows);

/* fp8_error.c. fp8_error_compare is called before the product of x and the group's weights in the
 * first chunk of a forward. */
void fp8_error_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t));
int fp8_error_open(struct model *m, struct fail *why);
void fp8_error_compare(struct model *m, int64_t layer, const struct group *g, struct mat x,
                       int64_t rows);

void layer_forward(struct model *m, int64_t index);
/* On entry m->grad is the gradient of the layer's output, on return the gradient of its input. */
void layer_backward(struct model *m, int64_t index);

static inline size_t output_bytes(const struct model *m, int64_t rows)
{
    return (size_t)(rows * m->activations[0].o.stride * m->k->act_bytes);
}

/* Are the outputs of attention and MLP multiplied by a factor before they are added? */
static inline bool scales_residual(const struct config *c) { return c->residual_scale != 1; }

/* Returns the number of values of the widest norm's gain. */
static inline int64_t widest_gain(const struct config *c)
{
    int64_t head = c->norms_join_heads ? c->heads * c->head_dim : c->head_dim;
    return c->dim > head ? c->dim : head;
}

/* Returns the bytes of lse of the largest batch: of all rows, for the heads of this rank, or of all
 * heads, for this rank's rows. In one half of the heads neighbours.c computes half a group more. */
static inline size_t lse_bytes(const struct model *m)
{
    int64_t rows = (m->segments.whole_rows + m->segments.ranks - 1) / m->segments.ranks;
    int64_t more = segments_are_shared(m) ? m->setup.exchange_group / 2 : 0;
    return (size_t)(m->config.heads * rows + m->config.heads / 2 * more) * sizeof(float);
}

/* Returns the number of rows of the chunk that begins at `first`. */
static inline int64_t chunk_size(const struct model *m, int64_t first)
{
    return m->rows - first < m->setup.chunk ? m->rows - first : m->setup.chunk;
}

/* Does the sliding window have an effect, because a sample or the context may be longer? */
static inline bool has_windows(const struct model *m)
{
    const struct model_setup *s = &m->setup;
    return m->config.window < (s->positions > s->context ? s->positions : s->context);
}

static inline bool layer_is_stored(const struct model *m, int64_t index)
{
    return index >= m->config.layers - m->setup.stored_layers;
}

/* True if the layer stores the output of attention in a buffer of its own on the device. */
static inline bool attention_is_stored(const struct model *m, int64_t index)
{
    return index >= m->config.layers - m->setup.stored_layers - m->setup.stored_attention;
}

#endif
