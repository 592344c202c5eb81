/* kernels.h - the arithmetic of training and evaluation.
 *
 * A backend is one constant table of functions. kernels_open chooses it, and no other code asks
 * which one it is. The arrays that operations get are in the device's memory, unless a comment says
 * "host". Matrices are row-major. Operations are queued in order and return nothing; the device
 * keeps the first failure for sync. Callers must pass sizes that fit: an operation checks them and
 * aborts the program if one is wrong, with a message that names the check. Output parameters come
 * first; an operation adds to one whose name ends in _acc and overwrites all others. The same
 * inputs give the same bits on the same device, for any number of threads.
 *
 * Each backend has its own type for activations (f32 on the CPU). Adapters, gradient sums, AdamW's
 * moments, statistics of norms, softmax and loss are f32 in every backend, because accuracy depends
 * on them.
 *
 * Letters in shapes: T is the number of rows (tokens of one or more samples, one after the other).
 * d is the width of the model, f the width of the feed-forward part. H is the number of query
 * heads, K the number of key/value heads, c the number of columns of a head. V is the size of the
 * vocabulary. r is a rank, R the sum of the ranks of a group.
 */
#ifndef LONGQLORA_KERNELS_H
#define LONGQLORA_KERNELS_H

#include "lib/common/dtype.h"
#include "lib/common/fail.h"

#include <stdint.h>

enum { KERNELS_VERSION = 15 };

struct device;
struct act; /* an activation, in the backend's type */

/* A matrix of activations. The beginnings of two rows are `stride` elements apart. */
struct mat {
    struct act *at;
    int64_t stride;
};

/* A linear layer with a LoRA adapter: y = x Wᵀ + bias + scale · drop(x) Aᵀ Bᵀ (Hu et al. 2021,
 * equation 3). */
struct linear {
    enum dtype type;
    const void *weight; /* [out, in]. NF4: two codes in a byte, the first in the high nibble */
    /* NF4: 8-bit codes of absmax, one for every 64 elements of the flat array */
    const uint8_t *absmax;
    /* NF4: f32 scales of the codes in absmax, one for every 16384 elements. If absmax is NULL, the
     * weight has no double quantization: absmax_scale is then absmax itself, one for every 64
     * elements. */
    const float *absmax_scale;
    float offset; /* NF4: absmax = map[code] · absmax_scale + offset */
    int64_t out, in;
    const float *bias;       /* [out]; NULL: there is none */
    int64_t rank;            /* 0: there is no adapter */
    float scale;             /* alpha / rank */
    uint32_t dropout_stream; /* the number of the Philox stream from which its masks are taken */
    const float *a, *b;      /* [rank, in], [out, rank] */
    float *da_acc, *db_acc;  /* NULL: the adapter is frozen */
    float *dweight_acc;      /* NULL: the weight is frozen */
    float *dbias_acc;        /* NULL: the bias is frozen */
};

/* Linear layers that have the same input x. Their outputs lie side by side in y. Their u = drop(x)
 * Aᵀ lie side by side in the columns to the right of x. A slot holds the weights of one group in
 * the form that the products read. */
enum { LINEAR_SLOTS = 6 };
struct group {
    const struct linear *at;
    int count, slot;
    /* All weights are frozen, and products with them are computed in 8 bits (fp8.h). */
    bool is_fp8;
};
/* Are the group's weights f32 and contiguous in memory, so that they are one matrix? */
static inline bool group_is_one_matrix(const struct group *g)
{
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        if (l->type != DTYPE_F32) return false;
        if (i + 1 < g->count && (const float *)l->weight + l->out * l->in != l[1].weight)
            return false;
    }
    return true;
}
/* The sizes of the largest group that a slot will hold. out and rank are sums over its linear
 * layers. */
struct slot_shape {
    int64_t out, in, rank;
};

/* `key` is the key of Philox, the random generator. `p` is the probability that an element becomes
 * 0; if p is 0, there is no dropout. The rows of one optimiser step are numbered, and first_row is
 * the number of this call's first row. The mask of a row depends on its number, so it is the same
 * however the step is divided into calls. */
struct dropout {
    uint64_t key;
    float p;
    int64_t first_row;
};

/* Which keys a row sees: row t sees the keys j with start[t] <= j <= t. start does not decrease
 * from row to row. The heads below `split` have the first list of starts, the others have the
 * second, because S2-Attn shifts the groups of half of the heads. */
struct attention_starts {
    const int32_t *low_heads, *high_heads;
    int64_t split;
};

/* Rows of one kind, such as the groups of S2-Attn, may be computed apart from all others if they
 * begin at a multiple of this number (attention_extent). */
enum { ATTENTION_UNIT = 256 };

/* Keys and values of up to `capacity` rows. The backend decides the order of the elements. The
 * caller chooses their type: act_type or cache_type of struct kernels. */
struct cache {
    void *at; /* cache_elements elements of that type, zero at first */
    enum dtype type;
    int64_t capacity, kv_heads, head_dim;
};
static inline int64_t cache_stride(const struct cache *c)
{
    return (2 * c->kv_heads * c->head_dim + 7) / 8 * 8;
}
static inline int64_t cache_elements(const struct cache *c)
{
    return c->capacity * cache_stride(c);
}

/* The largest sizes that operations will be called with. reserve allocates scratch for them. */
struct shape {
    /* rows: T of attention. chunk: the rows that every other operation gets in one call */
    int64_t rows, chunk;
    int64_t keys; /* the largest number of keys of attention_decode; 0: it is not called */
    int64_t dim, ffn, heads, kv_heads, head_dim, vocab;
    struct slot_shape slot[LINEAR_SLOTS];
    bool has_compact_weights; /* some weight is not f32 */
    /* Some groups of frozen f32 weights are not one matrix, and are copied so that they become one.
     * Otherwise the order of the sums over a group would depend on the order of the tensors in the
     * model's file, and so would the last bits of the gradients. */
    bool has_scattered_weights;
    bool has_fp8;         /* Some groups are in fp8. has_backward must be set, too. */
    enum dtype head_type; /* type of the weights of head_loss and head_logits */
    int64_t head_rank;    /* rank of the adapter of head_loss and head_logits; 0: it has none */
    bool has_backward;
    /* If attention is called for some of the heads or rows: the strides that k and v have in a call
     * for all. The order of sums may depend on them. 0: there are no such calls. */
    int64_t k_stride, v_stride;
    float dropout;
};

static inline bool shape_has_adapters(const struct shape *s)
{
    for (int i = 0; i < LINEAR_SLOTS; i++)
        if (s->slot[i].rank) return true;
    return false;
}

/* The error of quantizing x to q: Σ x², Σ (x − q)², and the largest |x − q|. */
struct nf4_error {
    double squares, error_squares, max_error;
};

/* Elements in a piece of square_pieces. */
enum { SQUARES_PIECE = 4096 };

enum { COPY_TICKETS = 5 };

/* Messages between the devices of several processes: tickets of lists that are under way, the
 * longest name of the library that moves them, and the bytes of the id by which the processes find
 * each other. */
enum { MESSAGES_TICKETS = 3, MESSAGES_NAME = 32, MESSAGES_ID = 128 };
/* Bytes of the device's memory that go to the process with the number `rank`, or come from it. */
struct device_message {
    int rank;
    bool is_in;
    void *at;
    size_t bytes;
};

/* A device in words. Two devices of the same kind compute the same bits: `kind` has the name of the
 * GPU, its driver and the libraries that multiply. `own` differs between two GPUs of a machine; it
 * is "" for a CPU. */
struct device_facts {
    char kind[160], own[48];
};

struct kernels {
    int version;
    size_t size; /* sizeof (struct kernels); shows whether a plug-in is of another version */
    const char *name, *act_name;
    enum dtype act_type; /* type of activations */
    /* type of a cache of keys and values: 16 bits even where activations have more */
    enum dtype cache_type;
    int64_t act_bytes;
    /* the device's memory is the host's, so that mapped weights may be used without a copy */
    bool is_host;
    int64_t head_dim_max; /* the largest number of columns of a head; 0: no limit */
    int64_t chunk_rows;   /* the best number of rows of a call in training */
    int64_t read_rows; /* rows of a call in inference, where less memory is worth more than speed */
    int64_t attention_margin; /* see attention_extent */

    /* ---- device and memory ---- */
    /* How many such devices can this process use? 0: none, or it is not known. */
    int (*count)(void);
    /* Chooses the device that the functions below are about, a number below count. Before the first
     * call it is 0. A device that is already open does not change. */
    void (*choose)(int number);
    int (*probe)(struct fail *why); /* Is there such a device? */
    /* Can it compute groups in fp8? Fails with the reason if it cannot. Succeeds if there is no
     * such device. */
    int (*probe_fp8)(struct fail *why);
    void (*describe)(struct device_facts *facts);
    uint64_t (*available)(void); /* Free bytes of its memory. 0: not known. */
    int (*open)(struct device **dev, int threads, struct fail *why);
    void (*close)(struct device *dev);
    /* the bytes that reserve will allocate */
    size_t (*plan)(const struct shape *shape, int threads);
    int (*reserve)(struct device *dev, const struct shape *shape, struct fail *why);
    /* The memory is zeroed. */
    int (*alloc)(struct device *dev, void **mem, size_t bytes, struct fail *why);
    void (*release)(struct device *dev, void *mem, size_t bytes);
    /* The caller may change the source once the call returns. */
    void (*upload)(struct device *dev, void *to, const void *from_host, size_t bytes);
    void (*download)(struct device *dev, void *to_host, const void *from, size_t bytes);
    void (*zero)(struct device *dev, void *mem, size_t bytes);
    /* Waits for all operations. Fails with the first failure since the last sync. */
    int (*sync)(struct device *dev, struct fail *why);

    /* ---- memory of the host, for what does not fit on the device ---- */
    /* The memory is zeroed and pinned. Operations may use it like the device's own, at the speed of
     * the bus. */
    int (*alloc_host)(struct device *dev, void **mem, size_t bytes, struct fail *why);
    void (*release_host)(struct device *dev, void *mem, size_t bytes);
    /* Copies that run at the same time as later operations. They run one after the other, and each
     * begins when everything queued before it is done. The caller gives each copy a ticket, a
     * number below COPY_TICKETS. copy_wait makes later operations wait for the last copy with that
     * ticket. Until then operations must not touch the memory that a copy reads or writes, but they
     * may read what copy_out reads. */
    void (*copy_out)(struct device *dev, void *to_host, const void *from, size_t bytes, int ticket);
    void (*copy_in)(struct device *dev, void *to, const void *from_host, size_t bytes, int ticket);
    /* Does nothing if the ticket was never used. */
    void (*copy_wait)(struct device *dev, int ticket);

    /* ---- messages between the devices of several processes ---- */
    /* A library that is opened when it is first asked for moves them (NCCL). None of these
     * functions waits for another process. messages_find writes the library's name and version, or
     * says why it cannot be used here. messages_id makes an id, in one of the processes. With it
     * all of them, each with a device of its own, call messages_open, which begins to connect
     * them. */
    int (*messages_find)(char name[MESSAGES_NAME], struct fail *why);
    int (*messages_id)(char id[MESSAGES_ID], struct fail *why);
    int (*messages_open)(const char id[MESSAGES_ID], int rank, int count, struct fail *why);
    /* Begins to move a list of messages when everything queued before is done, and when the lists
     * before it have moved. Messages between two processes must be begun in the same order, and
     * with the same sizes, in both. The caller gives the list a ticket below MESSAGES_TICKETS.
     * Until messages_test returns 1 it must not call it again with this ticket, and operations must
     * not write the memory that is sent, nor touch the memory that is received. */
    int (*messages_begin)(struct device *dev, int ticket, const struct device_message *list,
                          int count, struct fail *why);
    /* Are the processes connected, and may messages_begin be called? 1: yes. 0: not yet. */
    int (*messages_ready)(struct fail *why);
    /* Have all messages of the ticket's list moved? 1: yes. 0: not yet. 2: not yet, and this device
     * still computes what was queued before the last list. */
    int (*messages_test)(int ticket, struct fail *why);
    /* Ends the connection. What has not moved is dropped, so all processes must have tested their
     * last lists. After a failure it may be called at any time. It takes two seconds at most. */
    void (*messages_close)(void);

    /* A named range on the time line that a profiler shows (NVTX). A range may contain others. */
    void (*range_begin)(const char *name);
    void (*range_end)(void);

    /* ---- element types ---- */
    /* cast_in: out = in [rows, cols], rounded to the activations' type. cast_out: out = in, as
     * f32. */
    void (*cast_in)(struct device *dev, struct mat out, const float *in, int64_t rows,
                    int64_t cols);
    void (*cast_out)(struct device *dev, float *out, struct mat in, int64_t rows, int64_t cols);
    /* out = in [rows, cols]. The two do not overlap. */
    void (*copy_rows)(struct device *dev, struct mat out, struct mat in, int64_t rows,
                      int64_t cols);

    /* ---- factors (of embeddings and residuals, see struct config) ---- */
    /* out = residual + scale · x [rows, cols]. If residual.at is NULL, out = scale · x. out may be
     * x or residual. */
    void (*scale_add)(struct device *dev, struct mat out, struct mat residual, struct mat x,
                      float scale, int64_t rows, int64_t cols);

    /* ---- embedding: table f32 or 16 bits [V, d], id [T] ---- */
    /* x[t] = table[id[t]] */
    void (*embedding_fwd)(struct device *dev, struct mat x, const void *table, enum dtype type,
                          const int32_t *id, int64_t rows, int64_t dim);
    /* dtable_acc[id[t]] += dx[t], row after row */
    void (*embedding_bwd)(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                          int64_t rows, int64_t dim);

    /* ---- RMSNorm (Zhang, Sennrich 2019): gain [d], rstd [T] f32 ---- */
    /* rstd = 1/√(mean x² + eps); y = x · rstd · gain; y must not be x */
    void (*rmsnorm_fwd)(struct device *dev, struct mat y, float *rstd, struct mat x,
                        const float *gain, int64_t rows, int64_t dim, float eps);
    /* x̂ = x · rstd; dx_acc += rstd · (gain⊙dy − x̂ · mean(gain⊙dy⊙x̂));
     * dgain_acc += Σ_t dy⊙x̂, unless NULL */
    void (*rmsnorm_bwd)(struct device *dev, struct mat dx_acc, float *dgain_acc, struct mat dy,
                        struct mat x, const float *rstd, const float *gain, int64_t rows,
                        int64_t dim);
    /* y = residual + x · rstd · gain. y may be residual, but must not be x. The backward is
     * rmsnorm_heads_bwd with one head of `dim` columns. */
    void (*rmsnorm_add)(struct device *dev, struct mat y, struct mat x, struct mat residual,
                        const float *gain, int64_t rows, int64_t dim, float eps);
    /* RMSNorm of each head of x [T, H·c] separately. All heads have the same gain [c]. y must not
     * be x. */
    void (*rmsnorm_heads_fwd)(struct device *dev, struct mat y, struct mat x, const float *gain,
                              int64_t rows, int64_t heads, int64_t head_dim, float eps);
    /* dx = rstd · (gain⊙dy − x̂ · mean(gain⊙dy⊙x̂)), with rstd computed again. dx may be x.
     * dgain_acc += Σ over rows and heads of dy⊙x̂, unless NULL */
    void (*rmsnorm_heads_bwd)(struct device *dev, struct mat dx, float *dgain_acc, struct mat dy,
                              struct mat x, const float *gain, int64_t rows, int64_t heads,
                              int64_t head_dim, float eps);

    /* ---- RoPE (Su et al. 2021) ---- */
    /* Rotates the pairs (i, i + n/2) of the first n = rotary_dim elements of each head, and copies
     * the other elements. out may be x. cos and sin are f32 [positions, n/2]. direction 1 rotates;
     * −1 rotates back, as the backward needs. */
    void (*rope_apply)(struct device *dev, struct mat out, struct mat x, const float *cos,
                       const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                       int64_t head_dim, int64_t rotary_dim, int direction);

    /* ---- groups of linear layers: x [T, in], u [T, R] in the columns to the right of x ---- */
    /* Converts the group's weights to the form that the products read, and stores them in the
     * group's slot. They stay there until the slot is filled again or a loss is computed. */
    void (*linear_prepare)(struct device *dev, const struct group *g);
    /* u = drop(x) Aᵀ, written to the columns to the right of x */
    void (*lora_down)(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                      struct dropout drop);
    /* Computes u as lora_down does, then y = residual + bias + x Wᵀ + scale · u Bᵀ. If residual.at
     * is NULL, there is no residual. residual may be y, unless the group is in fp8. */
    void (*linear_fwd)(struct device *dev, struct mat y, struct mat x, const struct group *g,
                       struct mat residual, int64_t rows, struct dropout drop);
    /* dy has one matrix for each linear layer. du = scale · dy B; dx = dy W + mask⊙(du A)/(1−p) */
    void (*linear_bwd_input)(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                             const struct group *g, int64_t rows, struct dropout drop);
    /* da_acc += duᵀ drop(x); db_acc += scale · dyᵀ u; dweight_acc += dyᵀ x; dbias_acc += Σ_t dy */
    void (*linear_bwd_weight)(struct device *dev, const struct group *g, const struct mat *dy,
                              struct mat du, struct mat x, int64_t rows, struct dropout drop);
    /* dx_acc += mask⊙(du A)/(1−p): what the adapters add in linear_bwd_input. linear_prepare must
     * have filled the slot, as for lora_down. */
    void (*lora_bwd_input)(struct device *dev, struct mat dx_acc, struct mat du,
                           const struct group *g, int64_t rows, struct dropout drop);
    /* keep[t, i] = 1 if the element e = (first_row + t) · dim + i is kept, that is, if the 16-bit
     * lane e % 8 of Philox4x32-10(key; e / 8, stream) is >= p · 65536 */
    void (*dropout_mask)(struct device *dev, uint8_t *keep, uint32_t dropout_stream, int64_t rows,
                         int64_t dim, struct dropout drop);

    /* ---- attention, causal over segments: q, o [T, H·c], k, v [T, K·c], lse [H, T] ---- */
    /* o[t] = Σ_j softmax_j(scale · q[t]·k[j]) v[j] over the keys that t sees; lse = ln Σ_j
     * exp(scale · q·k). Head h reads the key/value head h·K/H. */
    void (*attention_fwd)(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                          struct mat v, struct attention_starts starts, int64_t rows, int64_t heads,
                          int64_t kv_heads, int64_t head_dim, float scale);
    /* dq may be o, dk may be k, and dv may be v. */
    void (*attention_bwd)(struct device *dev, struct mat dq, struct mat dk, struct mat dv,
                          struct mat dout, struct mat o, const float *lse, struct mat q,
                          struct mat k, struct mat v, struct attention_starts starts, int64_t rows,
                          int64_t heads, int64_t kv_heads, int64_t head_dim, float scale);
    /* A call may compute only some of the heads, if they are whole groups of H/K. It may also
     * compute only the rows from *first up to *end of these heads, if these rows see no rows before
     * *first, and no later row sees any of them. The results have the bits of a call for all `rows`
     * rows and all heads, if *first and *end are multiples of ATTENTION_UNIT, or the end of the
     * rows. Because of the way in which the backend divides rows, the backward's call may need more
     * rows on each side, up to attention_margin. This function lowers *first and raises *end
     * accordingly. The added rows may be zeros, and their results have no meaning. The starts have
     * both lists of all rows, in the host's memory. In the call itself they count from the call's
     * first row, and starts before this row are 0. */
    void (*attention_extent)(struct attention_starts starts, int64_t rows, int64_t *first,
                             int64_t *end);

    /* ---- attention over a cache, for generating text: kv [T, 2·K·c] ---- */
    /* Writes kv, in each row first the keys, then the values, to the rows first … first + T − 1 of
     * the cache. A cache of f16 gets them rounded to nearest and limited to ±65504. */
    void (*cache_rows)(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                       int64_t rows);
    /* attention_fwd with the keys and values of the cache's rows 0 … past + T − 1. Row t sees
     * start[t] <= j <= past + t. */
    void (*attention_decode)(struct device *dev, struct mat o, float *lse, struct mat q,
                             const struct cache *cache, struct attention_starts starts,
                             int64_t past, int64_t rows, int64_t heads, float scale);

    /* ---- SwiGLU and GEGLU (Shazeer 2020): s = gate · σ(gate) · up, all [T, f] ---- */
    void (*swiglu_fwd)(struct device *dev, struct mat s, struct mat gate, struct mat up,
                       int64_t rows, int64_t cols); /* s may be gate. */
    /* Works in place: s, with the bits of the forward, overwrites ds; dgate overwrites gate; dup
     * overwrites up. */
    void (*swiglu_bwd)(struct device *dev, struct mat ds, struct mat gate, struct mat up,
                       int64_t rows, int64_t cols);

    /* Like swiglu_fwd, with GELU, approximated by tanh: s = gate · ½(1 + tanh z) · up, where z =
     * √(2/π) · (gate + 0.044715 gate³). Hence ½(1 + tanh z) = σ(2z). */
    void (*geglu_fwd)(struct device *dev, struct mat s, struct mat gate, struct mat up,
                      int64_t rows, int64_t cols);
    void (*geglu_bwd)(struct device *dev, struct mat ds, struct mat gate, struct mat up,
                      int64_t rows, int64_t cols);

    /* ---- head and loss: logits = logit_scale · x Wᵀ, in chunks of rows ---- */
    /* nll[t] = ln Σ exp(logits) − logits[target], and 0 where target < 0. The head's weights are
     * f32; a GPU also takes 16 bits. Unless dx.at is NULL, dx = dscale · logit_scale · (softmax −
     * onehot) W; unless dweight_acc [V, d] is NULL, the same gradient of the weights is added to
     * it.
     *
     * If the head has an adapter, x has u of lora_down in the columns on its right, and logits =
     * logit_scale · (x Wᵀ + scale · u Bᵀ). With dlogits = dscale · logit_scale · (softmax −
     * onehot), du [T, r] = scale · dlogits B and db_acc += scale · dlogitsᵀ u. What the adapter
     * adds to dx and to the gradient of A is left to lora_bwd_input and linear_bwd_weight. */
    void (*head_loss)(struct device *dev, float *nll, struct mat dx, struct mat du,
                      float *dweight_acc, struct mat x, const struct linear *head,
                      float logit_scale, const int32_t *target, int64_t rows, float dscale);
    /* logits = x Wᵀ + scale · u Bᵀ [rows, V] in f32, without logit_scale. The head's weights may be
     * of any type. */
    void (*head_logits)(struct device *dev, float *logits, struct mat x, const struct linear *head,
                        int64_t rows);

    /* ---- optimiser, on flat f32 arrays ---- */
    /* *sum, in the host's memory, becomes Σ g², computed in double. It is not finite if any g is
     * not. */
    void (*sum_squares)(struct device *dev, double *sum, const float *g, int64_t count);
    /* squares [⌈count/SQUARES_PIECE⌉], in the device's memory: element i becomes Σ g², in double,
     * of piece i of g. The last piece may be shorter. */
    void (*square_pieces)(struct device *dev, double *squares, const float *g, int64_t count);
    /* g_acc += g. The two do not overlap. */
    void (*fold)(struct device *dev, float *g_acc, const float *g, int64_t count);
    /* AdamW (Loshchilov, Hutter 2019). g is multiplied by gscale first, and set to zero at the end.
     */
    void (*adamw)(struct device *dev, float *p, float *m, float *v, float *g, int64_t count,
                  float lr, float beta1, float beta2, float eps, float decay, int64_t step,
                  float gscale);
    /* If a value is not finite, the next sync fails; its message has `name` and the place of the
     * first such value.
     */
    void (*finite_check)(struct device *dev, const char *name, struct mat x, int64_t rows,
                         int64_t cols);

    /* ---- flat arrays of weights, of any type but NF4 ---- */
    /* out = in, as f32 */
    void (*widen)(struct device *dev, float *out, const void *in, enum dtype type, int64_t count);
    /* out = a + scale · b, or out = a if b is NULL. The product is rounded to f32, the sum to f32,
     * and then the result to `type`. */
    void (*narrow_sum)(struct device *dev, void *out, enum dtype type, const float *a, float scale,
                       const float *b, int64_t count);
    /* ---- NF4 with double quantization, bit for bit bitsandbytes' (see nf4.h) ----
     * codes [⌈n/2⌉], absmax [⌈n/64⌉], absmax_scale [⌈n/16384⌉] */
    /* absmax = max |x| of each block of 64; it is not finite if any x is not. codes are those of x
     * / absmax. x [n] may be of any type but NF4. */
    void (*nf4_codes)(struct device *dev, uint8_t *codes, float *absmax, const void *x,
                      enum dtype type, int64_t count);
    /* *offset, in the host's memory, becomes the mean of absmax, summed in double, block after
     * block. */
    void (*nf4_offset)(struct device *dev, float *offset, const float *absmax, int64_t blocks);
    /* Quantizes absmax. Each 256 values share a scale, which is their max |absmax − offset|. The
     * 8-bit codes are those of (absmax − offset) / scale. */
    void (*nf4_nest)(struct device *dev, uint8_t *absmax, float *absmax_scale,
                     const float *absmax_f32, float offset, int64_t blocks);
    /* *error is in the host's memory. Squares are computed and summed in double. */
    void (*nf4_error)(struct device *dev, struct nf4_error *error, const void *x, enum dtype type,
                      const uint8_t *codes, const uint8_t *absmax, const float *absmax_scale,
                      float offset, int64_t count);
    /* If absmax is NULL, absmax_scale is absmax itself, one for every 64 elements. */
    void (*nf4_dequantize)(struct device *dev, float *x, const uint8_t *codes,
                           const uint8_t *absmax, const float *absmax_scale, float offset,
                           int64_t count);
};

/* The names of the backends, with `s` between two of them, and `last` before the last one. */
#define KERNELS_NAMES(s, last) "auto" s "cpu" s "cpu-bf16" s "cuda" s "cuda-bf16" last "cuda-f16"
#define KERNELS_DEVICES KERNELS_NAMES(", ", " or ") "; cuda:1 is the second GPU" /* for help */
/* Finds the backend of that name:
 *
 *     cpu         everything is f32
 *     cpu-bf16    matrix products round their operands to bf16 and sum in f32; everything else is
 *                 f32. It needs a CPU with AVX512_BF16.
 *     cuda-bf16   the plug-in kernels-cuda.so
 *     cuda-f16    the plug-in kernels-cuda-f16.so
 *     cuda        cuda-bf16 if the GPU has bf16, else cuda-f16
 *     auto        cuda if there are a plug-in and a GPU, else cpu
 *
 * A name with "cuda" may end with the number of a GPU, from 0: "cuda:1", "cuda-f16:1". Without a
 * number, a process that a launcher started takes the GPU whose number is its own number on the
 * machine (OMPI_COMM_WORLD_LOCAL_RANK, SLURM_LOCALID or MPI_LOCALRANKID). If there are fewer GPUs
 * than processes, it is taken modulo the number of GPUs. Other processes take the first GPU.
 *
 * Fails with the reason if there is no such backend, if there are GPUs, but none of that number, or
 * if LONGQLORA_CPU or LONGQLORA_MEMORY is set to something that limits nothing. Only `open` fails
 * if there is no GPU at all, so that plans can be made without one. */
int kernels_open(const struct kernels **table, const char *name, struct fail *why) MUST_USE;
/* If plan_only is false, this is kernels_open. If it is true, the caller only plans memory, and a
 * missing plug-in is no failure. The caller then gets a table with the plug-in's name, sizes and
 * `plan`. In that table `available` returns 0, `describe` knows nothing, `open` fails, and there
 * are no operations. */
int kernels_choose(const struct kernels **table, const char *name, bool plan_only,
                   struct fail *why) MUST_USE;

/* Returns the name of the level of the instruction set that a CPU backend is compiled for; "" for
 * others. */
const char *kernels_level(const struct kernels *k);

/* Returns the columns of m from `column` on. */
static inline struct mat mat_columns(const struct kernels *k, struct mat m, int64_t column)
{
    return (struct mat){ (struct act *)((char *)m.at + column * k->act_bytes), m.stride };
}

static inline struct mat mat_rows(const struct kernels *k, struct mat m, int64_t row)
{
    return (struct mat){ (struct act *)((char *)m.at + row * m.stride * k->act_bytes), m.stride };
}

/* Returns the dropout of a call that begins `row` rows after the call of `drop`. */
static inline struct dropout dropout_from(struct dropout drop, int64_t row)
{
    drop.first_row += row;
    return drop;
}

#endif
