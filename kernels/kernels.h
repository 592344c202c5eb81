/* kernels.h - the arithmetic of training and evaluation.
 *
 * A backend is one constant table of functions; kernels_open picks it and no other
 * code asks which it is. Pointers in operations are memory of that backend,
 * row-major. Operations are queued in order and return nothing; the device keeps
 * the first failure for sync. Sizes are preconditions: a wrong one aborts by name.
 * Outputs come first; one whose name ends in _acc is added into, all others are
 * overwritten. Same inputs, same device: same bits, for any number of threads.
 *
 * Activations have the backend's own type `a` (f32 on the CPU). What decides
 * accuracy is f32 everywhere: adapters, gradient sums, moments, norm statistics,
 * softmax, loss. Shapes: T rows (tokens of one or more samples, one after the
 * other), d width, f feed-forward width, H query heads, K key/value heads, c head
 * dimension, V vocabulary, r rank, R the ranks of a group added up.
 */
#ifndef LONGQLORA_KERNELS_H
#define LONGQLORA_KERNELS_H

#include "../lib/common/fail.h"
#include "../lib/common/weight_type.h"

#include <stdint.h>

enum { KERNELS_VERSION = 7 };

struct device;
struct act; /* an activation, of the backend's type */

/* Rows of activations, `stride` elements apart. */
struct mat {
    struct act *at;
    int64_t stride;
};

/* y = x Wᵀ + scale · drop(x) Aᵀ Bᵀ   (LoRA: Hu et al. 2021, equation 3) */
struct linear {
    enum weight_type type;
    const void *weight;    /* [out, in]; NF4: two codes a byte, first in the high nibble */
    const uint8_t *absmax; /* NF4: codes of absmax, one for 64 elements, counted flat */
    const float *nested;   /* NF4: one for 16384 elements; absmax NULL: absmax itself, one for 64 */
    float offset;          /* NF4: absmax = map[code] · nested + offset */
    int64_t out, in;
    int64_t rank;           /* 0: no adapter */
    float scale;            /* alpha / rank */
    uint32_t site;          /* which dropout mask */
    const float *a, *b;     /* [rank, in], [out, rank] */
    float *da_acc, *db_acc; /* NULL: frozen */
    float *dweight_acc;     /* NULL: frozen */
};

/* Linears that share x; their outputs lie side by side, and so do their u. */
enum { LINEAR_SLOTS = 4 };
struct group {
    const struct linear *at;
    int count, slot;
};
/* The largest group that a slot will be prepared for; out and rank are sums. */
struct slot_shape {
    int64_t out, in, rank;
};

/* first_row: number of this call's first row in the step, so that the way a step is
 * cut into calls does not change a mask. p 0: no dropout. */
struct dropout {
    uint64_t key;
    float p;
    int64_t first_row;
};

/* Which keys a row may see: list[t] <= j <= t. Non-decreasing. Heads below split use
 * the first list, the others the second. */
struct spans {
    const int32_t *first, *second;
    int64_t split;
};

/* Keys and values of up to `capacity` rows: the order of elements is the backend's own, the type
 * the activations' or the table's cache_type. */
struct cache {
    void *at; /* cache_elements of the type, zeroed */
    enum weight_type type;
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

/* The largest sizes that operations will be called with. */
struct shape {
    int64_t rows, chunk; /* T of attention; rows of every other operation's call */
    int64_t keys;        /* of attention_cached; 0: it is not called */
    int64_t dim, ffn, heads, kv_heads, head_dim, vocab;
    struct slot_shape slot[LINEAR_SLOTS];
    bool has_packed_weights;    /* some weight is not f32 */
    enum weight_type head_type; /* of head_loss and head_logits */
    bool has_backward;
    float dropout;
};

static inline bool shape_has_adapters(const struct shape *s)
{
    for (int i = 0; i < LINEAR_SLOTS; i++)
        if (s->slot[i].rank) return true;
    return false;
}

/* What quantizing x to q costs: Σ x², Σ (x − q)², the largest |x − q|. */
struct nf4_error {
    double squares, wrong, most;
};

enum { COPY_TICKETS = 5 };

struct kernels {
    int version;
    size_t size; /* of this table */
    const char *name, *act_name;
    enum weight_type act_type;   /* a */
    enum weight_type cache_type; /* 16 bits where a has more */
    int64_t act_bytes;
    bool is_host;       /* its memory is host memory: weights may be used where they lie */
    int64_t chunk_rows; /* that row-wise operations are fast with in training; */
    int64_t read_rows;  /* and without a backward, where memory counts for more */

    /* ---- device and memory ---- */
    int (*probe)(struct fail *why); /* is such a device there? */
    uint64_t (*available)(void);    /* bytes of its memory that are free; 0: not known */
    int (*open)(struct device **dev, int threads, struct fail *why);
    void (*close)(struct device *dev);
    size_t (*plan)(const struct shape *shape, int threads); /* what reserve will take */
    int (*reserve)(struct device *dev, const struct shape *shape, struct fail *why);
    int (*alloc)(struct device *dev, void **mem, size_t bytes, struct fail *why); /* zeroed */
    void (*release)(struct device *dev, void *mem, size_t bytes);
    /* the source may change when it returns */
    void (*upload)(struct device *dev, void *to, const void *from_host, size_t bytes);
    void (*download)(struct device *dev, void *to_host, const void *from, size_t bytes);
    void (*zero)(struct device *dev, void *mem, size_t bytes);
    int (*sync)(struct device *dev, struct fail *why); /* waits; the first failure since the last */

    /* ---- memory of the host, for what the device has no room for ---- */
    /* zeroed, never paged to a disk; operations may use it as their own, at the bus's speed */
    int (*alloc_host)(struct device *dev, void **mem, size_t bytes, struct fail *why);
    void (*release_host)(struct device *dev, void *mem, size_t bytes);
    /* Copies beside the operations, one after the other, each begun when what was queued before
     * it is done. Only after copy_wait of its ticket may operations touch what it reads or writes,
     * but for reading what copy_out reads. */
    void (*copy_out)(struct device *dev, void *to_host, const void *from, size_t bytes, int ticket);
    void (*copy_in)(struct device *dev, void *to, const void *from_host, size_t bytes, int ticket);
    void (*copy_wait)(struct device *dev, int ticket); /* nothing, if it was never used */

    /* A named range of the time line that a profiler shows (NVTX); they nest. */
    void (*range_begin)(const char *name);
    void (*range_end)(void);

    /* ---- element types ---- */
    /* out = (a) in; out = (float) in [rows, cols] */
    void (*cast_in)(struct device *dev, struct mat out, const float *in, int64_t rows,
                    int64_t cols);
    void (*cast_out)(struct device *dev, float *out, struct mat in, int64_t rows, int64_t cols);
    /* out = in [rows, cols]; they share no byte */
    void (*copy_rows)(struct device *dev, struct mat out, struct mat in, int64_t rows,
                      int64_t cols);

    /* ---- embedding: table f32 or 16 bits [V, d], id [T] ---- */
    /* x[t] = table[id[t]] */
    void (*embedding_fwd)(struct device *dev, struct mat x, const void *table,
                          enum weight_type type, const int32_t *id, int64_t rows, int64_t dim);
    /* dtable_acc[id[t]] += dx[t], in the order of rows */
    void (*embedding_bwd)(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                          int64_t rows, int64_t dim);

    /* ---- RMSNorm (Zhang, Sennrich 2019): gain [d], rstd [T] f32 ---- */
    /* rstd = 1/√(mean x² + eps); y = x · rstd · gain; y is not x */
    void (*rmsnorm_fwd)(struct device *dev, struct mat y, float *rstd, struct mat x,
                        const float *gain, int64_t rows, int64_t dim, float eps);
    /* x̂ = x · rstd; dx_acc += rstd · (gain⊙dy − x̂ · mean(gain⊙dy⊙x̂));
     * dgain_acc += Σ_t dy⊙x̂, unless NULL */
    void (*rmsnorm_bwd)(struct device *dev, struct mat dx_acc, float *dgain_acc, struct mat dy,
                        struct mat x, const float *rstd, const float *gain, int64_t rows,
                        int64_t dim);

    /* ---- rotary positions (Su et al. 2021), halves (i, i + c/2); out may be x ----
     * cos, sin [positions, c/2] f32; direction −1 turns back: the backward */
    void (*rope_apply)(struct device *dev, struct mat out, struct mat x, const float *cos,
                       const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                       int64_t head_dim, int direction);

    /* ---- linear groups: x [T, in], u [T, R] in the columns right of x ---- */
    /* readies the group's weights in its slot, until that is prepared again or a loss computed */
    void (*linear_prepare)(struct device *dev, const struct group *g);
    /* u = drop(x) Aᵀ, stored right of x */
    void (*linear_inner)(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                         struct dropout drop);
    /* inner, then y = residual + x Wᵀ + scale · u Bᵀ; residual.at NULL: none; may be y */
    void (*linear_fwd)(struct device *dev, struct mat y, struct mat x, const struct group *g,
                       struct mat residual, int64_t rows, struct dropout drop);
    /* dy: one mat for each linear; du = scale · dy B; dx = dy W + mask⊙(du A)/(1−p) */
    void (*linear_bwd_input)(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                             const struct group *g, int64_t rows, struct dropout drop);
    /* da_acc += duᵀ drop(x); db_acc += scale · dyᵀ u; dweight_acc += dyᵀ x */
    void (*linear_bwd_weight)(struct device *dev, const struct group *g, const struct mat *dy,
                              struct mat du, struct mat x, int64_t rows, struct dropout drop);
    /* keep[t, i] = 1 if element e = (first_row + t) · dim + i stays: lane e % 8 (16 bits)
     * of Philox4x32-10(key; e / 8, site) >= p · 65536 */
    void (*dropout_mask)(struct device *dev, uint8_t *keep, uint32_t site, int64_t rows,
                         int64_t dim, struct dropout drop);

    /* ---- attention, causal over segments: q, o [T, H·c], k, v [T, K·c], lse [H, T] ---- */
    /* o[t] = Σ_j softmax_j(scale · q[t]·k[j]) v[j] over the span of t;
     * lse = ln Σ_j exp(scale · q·k); head h reads key/value head h·K/H */
    void (*attention_fwd)(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                          struct mat v, struct spans spans, int64_t rows, int64_t heads,
                          int64_t kv_heads, int64_t head_dim, float scale);
    /* dq may be o; dk may be k; dv may be v */
    void (*attention_bwd)(struct device *dev, struct mat dq, struct mat dk, struct mat dv,
                          struct mat dout, struct mat o, const float *lse, struct mat q,
                          struct mat k, struct mat v, struct spans spans, int64_t rows,
                          int64_t heads, int64_t kv_heads, int64_t head_dim, float scale);

    /* ---- attention of a text in the making, kv [T, 2·K·c] ---- */
    /* rows first … first + T − 1 of the cache = kv; in f16 rounded to nearest, at most ±65504 */
    void (*cache_rows)(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                       int64_t rows);
    /* as attention_fwd; rows 0 … past + T − 1 are in the cache, row t sees list[t] <= j <= past + t
     */
    void (*attention_cached)(struct device *dev, struct mat o, float *lse, struct mat q,
                             const struct cache *cache, struct spans spans, int64_t past,
                             int64_t rows, int64_t heads, float scale);

    /* ---- SwiGLU (Shazeer 2020): s = gate · σ(gate) · up, all [T, f] ---- */
    void (*swiglu_fwd)(struct device *dev, struct mat s, struct mat gate, struct mat up,
                       int64_t rows, int64_t cols); /* s may be gate */
    /* in place: ds becomes s, with the bits it had, gate becomes dgate, up becomes dup */
    void (*swiglu_bwd)(struct device *dev, struct mat ds, struct mat gate, struct mat up,
                       int64_t rows, int64_t cols);

    /* ---- head and loss: logits = x Wᵀ in chunks, never whole ---- */
    /* nll[t] = ln Σ exp(logits) − logits[target], 0 where target < 0; the head's weights are
     * f32; unless dx.at is NULL,
     * dx = dscale · (softmax − onehot) W, dweight_acc [V, d] likewise unless NULL */
    void (*head_loss)(struct device *dev, float *nll, struct mat dx, float *dweight_acc,
                      struct mat x, const struct linear *head, const int32_t *target, int64_t rows,
                      float dscale);
    /* logits [rows, V] f32; the head's weights of any type */
    void (*head_logits)(struct device *dev, float *logits, struct mat x, const struct linear *head,
                        int64_t rows);

    /* ---- optimiser, over flat f32 ranges ---- */
    /* *sum, on the host, is Σ g², in double; not finite if any g is not */
    void (*sum_squares)(struct device *dev, double *sum, const float *g, int64_t count);
    /* AdamW (Loshchilov, Hutter 2019): g is multiplied by gscale first and zeroed last */
    void (*adamw)(struct device *dev, float *p, float *m, float *v, float *g, int64_t count,
                  float lr, float beta1, float beta2, float eps, float decay, int64_t step,
                  float gscale);
    /* sync reports the first value that is not finite, with this name */
    void (*finite_check)(struct device *dev, const char *name, struct mat x, int64_t rows,
                         int64_t cols);

    /* ---- flat ranges of weights, of any type but NF4 ---- */
    /* out = (float) in */
    void (*widen)(struct device *dev, float *out, const void *in, enum weight_type type,
                  int64_t count);
    /* out = (type) (a + scale · b); product, sum and type are each rounded; b NULL: a alone */
    void (*narrow_sum)(struct device *dev, void *out, enum weight_type type, const float *a,
                       float scale, const float *b, int64_t count);
    /* ---- NF4 with double quantization, bit for bit bitsandbytes' (see nf4.h) ----
     * codes [⌈n/2⌉], absmax [⌈n/64⌉], nested [⌈n/16384⌉] */
    /* absmax = max |x| of a block, not finite if any x is not; codes of x / absmax; x [n] of any
     * type but NF4 */
    void (*nf4_codes)(struct device *dev, uint8_t *codes, float *absmax, const void *x,
                      enum weight_type type, int64_t count);
    /* *offset, on the host, is the mean, summed in double in the order of blocks */
    void (*nf4_offset)(struct device *dev, float *offset, const float *absmax, int64_t blocks);
    /* nested = max |absmax − offset| of 256; 8-bit codes of (absmax − offset) / nested */
    void (*nf4_nest)(struct device *dev, uint8_t *absmax_codes, float *nested, const float *absmax,
                     float offset, int64_t blocks);
    /* *error is on the host; squares are taken and summed in double */
    void (*nf4_error)(struct device *dev, struct nf4_error *error, const void *x,
                      enum weight_type type, const uint8_t *codes, const uint8_t *absmax_codes,
                      const float *nested, float offset, int64_t count);
    /* absmax NULL: nested [⌈n/64⌉] is absmax itself */
    void (*nf4_dequantize)(struct device *dev, float *x, const uint8_t *codes,
                           const uint8_t *absmax, const float *nested, float offset, int64_t count);
};

/* The names of backends, in a help text. */
#define KERNELS_DEVICES "auto, cpu, cpu-bf16, cuda, cuda-bf16 or cuda-f16"
/* The backend of that name: "cpu"; "cpu-bf16" (products round their operands to bf16 and sum in
 * f32, the rest is f32; where the CPU has AVX512_BF16); "cuda" (a plug-in: kernels-cuda.so in bf16,
 * or kernels-cuda-f16.so where the GPU has no bf16), "cuda-bf16" and "cuda-f16", which are one of
 * these; "auto": cuda where a plug-in and a GPU are, else cpu. Fails with the reason if it is not
 * to be had; that there is no GPU is found out by open, so that plans can be made without one. */
int kernels_open(const struct kernels **table, const char *name, struct fail *why) MUST_USE;
/* The same; plan_only is for those who only ask for sizes. Where a plug-in is not to be had, they
 * get a table of its names, sizes and `plan`, with no free memory, no operation, and an `open` that
 * fails. */
int kernels_choose(const struct kernels **table, const char *name, bool plan_only,
                   struct fail *why) MUST_USE;

/* Columns from `column` on of the same rows. */
static inline struct mat mat_columns(const struct kernels *k, struct mat m, int64_t column)
{
    return (struct mat){ (struct act *)((char *)m.at + column * k->act_bytes), m.stride };
}

static inline struct mat mat_rows(const struct kernels *k, struct mat m, int64_t row)
{
    return (struct mat){ (struct act *)((char *)m.at + row * m.stride * k->act_bytes), m.stride };
}

/* The dropout of a call that begins at that row of another's. */
static inline struct dropout dropout_from(struct dropout drop, int64_t row)
{
    drop.first_row += row;
    return drop;
}

#endif
