/* cuda_plan.h - sizes of the CUDA plug-ins' scratch memory, computed without a plug-in.
 *
 * The plug-ins ask these functions how much scratch they must allocate. If no plug-in is installed,
 * kernels.c calls the same functions. So a run on a GPU can be planned on a machine that has
 * neither a GPU nor nvcc. `act` is the plug-in's type of activations.
 */
#ifndef LONGQLORA_CUDA_PLAN_H
#define LONGQLORA_CUDA_PLAN_H

#include "kernels/kernels.h"
#include "lib/common/arithmetic.h"

enum {
    /* Rows of a chunk in training. 2048 rows also fill a large GPU, but 4096 are 2.3 % faster. */
    CUDA_CHUNK_ROWS = 4096,
    CUDA_READ_ROWS = 2048, /* rows of a chunk in inference, where less memory is used */
    CUDA_HEAD_DIM = 256,   /* the largest head_dim */

    SUM_PIECES = 1024, /* the largest number of partial sums of a flat array */
    GAIN_PIECES = 64,  /* the number of partial sums over the rows of a matrix */
    CHECKS = 1024,     /* the largest number of calls of finite_check between two calls of sync */
    /* The logits of one piece of the rows, with their gradients, may use this many bytes, or as
     * many as the slots have if that is more. */
    LOGIT_BYTES = 64 << 20,
    /* Rows to which dropout is applied together if linear_lora.cu does not support the shapes. */
    DROPPED_ROWS = 512,
    WORKSPACE = 32 << 20, /* bytes that cuBLASLt may use */

    /* LORA_… belong to the kernels in linear_lora.cu. A launch computes up to LORA_PARTS parts. A
     * part is the adapter of one linear layer, or 64 rows of its A if its rank is larger. */
    LORA_RANK = 64, /* the largest rank of a part */
    LORA_PARTS = 3,
    LORA_TILE = 128, /* rows of u = drop(x) Aᵀ, columns of dA or rows of dx that a block computes */
    LORA_SPLITS = 16, /* the largest number of partial sums of one result */

    ATTENTION_SPLIT = 256, /* keys that a block of attention_decode.cu reads */
};

/* Returns the distance, in elements, between the beginnings of two rows of `cols` elements. It is a
 * multiple of 16 bytes, because cuBLASLt requires that. */
static inline int64_t row_stride(int64_t cols) { return (cols + 7) / 8 * 8; }

/* Returns the number of elements in a row of a slot's matrix [W | scale · B]. */
static inline int64_t slot_width(int64_t in, int64_t rank) { return row_stride(in + rank); }

/* The parts of the slot of a group in fp8 (lib/common/fp8.h), as distances in bytes from the slot's
 * beginning, where q(W) [out, in] is. `columns` is q'(W)ᵀ [in, out]. `scales` is s(W) [out] and
 * then s'(W) [in], in f32. b is scale · B [out, row_stride(rank)] of elem, a is A [rank, in] of
 * elem. */
struct fp8_layout {
    size_t columns, scales, b, a, bytes;
};
static inline size_t cuda_rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }
static inline struct fp8_layout fp8_layout(int64_t out, int64_t in, int64_t rank, size_t element)
{
    struct fp8_layout l;
    size_t weights = cuda_rounded((size_t)(out * in));
    l.columns = weights;
    l.scales = 2 * weights;
    l.b = l.scales + cuda_rounded(sizeof(float) * (size_t)(out + in));
    l.a = l.b + cuda_rounded(element * (size_t)(out * row_stride(rank)));
    l.bytes = l.a + cuda_rounded(element * (size_t)(rank * in));
    return l;
}

/* The message of a plug-in whose activations are f16. */
#define CUDA_F16_LACKS_FP8                                                                         \
    "device cuda: products in fp8 need activations in bf16, and these are f16: set fp8: false"

/* Returns how many blocks a launch of linear_lora.cu should have. A multiprocessor holds one block
 * of three parts, or two blocks of one or two parts. */
static inline int64_t blocks_wanted(int parts) { return parts < LORA_PARTS ? 256 : 128; }

/* Returns the bytes of the partial sums of linear_lora.cu: the maximum over all slots and numbers
 * of parts. */
static inline size_t lora_bytes(const struct shape *s)
{
    int64_t floats = 0;
    for (int i = 0; i < LINEAR_SLOTS; i++) {
        int64_t in = s->slot[i].in;
        if (!s->slot[i].rank) continue;
        for (int parts = 1; parts <= LORA_PARTS; parts++) {
            int64_t ranks = min_i64(s->slot[i].rank, parts * LORA_RANK);
            int64_t wanted = blocks_wanted(parts) * LORA_TILE;
            floats =
                max_i64(floats, max_i64(s->chunk, min_i64(LORA_SPLITS * s->chunk, wanted)) * ranks);
            floats = max_i64(floats, max_i64(in, min_i64(LORA_SPLITS * in, wanted)) * ranks);
        }
    }
    return sizeof(float) * (size_t)floats;
}

/* Returns the bytes of the partial results of attention_decode.cu: for each head and split of the
 * keys a vector of head_dim, its row_max and its row_sum. */
static inline size_t flash_decode_bytes(const struct shape *s)
{
    return sizeof(float) *
           (size_t)(s->heads * ceil_div(s->keys, ATTENTION_SPLIT) * (s->head_dim + 2));
}

/* Bytes of each part of the scratch, in the order in which the parts follow each other. The logits
 * and their gradients reuse the memory of the slots, because the loss no longer needs the weights
 * in them. */
struct cuda_parts {
    size_t slot[LINEAR_SLOTS], slots, logits, dlogits, dropped, head, head_b, partial, squares;
    size_t row_stats, splits, lora_partial, fp8, fp8_scales, workspace, finite_checks;
    int64_t logit_rows;
};

static inline size_t cuda_element(enum dtype act) { return act == DTYPE_F32 ? 4 : 2; }

/* Returns how many rows of logits are computed together. The limit is what fits in `capacity`
 * bytes, or 256 rows if that is more. With fewer rows, reading the output head's weights would take
 * longer than multiplying by them, and the product for the weights' gradient would not fill a large
 * GPU. The chunk is divided evenly into as few pieces as the limit allows. */
static inline int64_t cuda_logit_rows(const struct shape *s, size_t capacity, size_t element)
{
    size_t row = (size_t)row_stride(max_i64(1, s->vocab)) * (4 + (s->has_backward ? element : 0));
    int64_t chunk = ceil_div(s->chunk, 64) * 64, rows = (int64_t)(capacity / row / 64 * 64);
    int64_t pieces = ceil_div(chunk, min_i64(max_i64(256, rows), chunk));
    return ceil_div(ceil_div(chunk, pieces), 64) * 64;
}

static inline struct cuda_parts cuda_parts_of(const struct shape *s, enum dtype act)
{
    struct cuda_parts p;
    size_t element = cuda_element(act);
    int64_t widest = max_i64(s->ffn, max_i64(s->dim, s->heads * s->head_dim));
    memset(&p, 0, sizeof p);
    for (int i = 0; i < LINEAR_SLOTS; i++) {
        const struct slot_shape *l = &s->slot[i];
        p.slot[i] =
            cuda_rounded(element * (size_t)(l->out * slot_width(l->in, l->rank) + l->rank * l->in));
        if (s->has_fp8) {
            int64_t bytes = (int64_t)fp8_layout(l->out, l->in, l->rank, element).bytes;
            p.slot[i] = (size_t)max_i64((int64_t)p.slot[i], bytes);
            bytes = (int64_t)cuda_rounded((size_t)(s->chunk * max_i64(l->in, l->out)));
            p.fp8 = (size_t)max_i64((int64_t)p.fp8, bytes);
        }
        p.slots += p.slot[i];
    }
    p.logit_rows = cuda_logit_rows(s, (size_t)max_i64((int64_t)p.slots, LOGIT_BYTES), element);
    size_t logits = (size_t)(p.logit_rows * row_stride(s->vocab));
    p.logits = cuda_rounded(4 * logits);
    if (s->has_backward) p.dlogits = cuda_rounded(element * logits);
    if (p.slots < p.logits + p.dlogits) p.slots = p.logits + p.dlogits;
    if (shape_has_adapters(s) && s->dropout > 0) {
        p.dropped = cuda_rounded(element * (size_t)(min_i64(s->chunk, DROPPED_ROWS) * widest));
        p.lora_partial = cuda_rounded(lora_bytes(s));
    }
    if (s->head_type != act) p.head = cuda_rounded(element * (size_t)(s->vocab * s->dim));
    p.head_b = cuda_rounded(element * (size_t)(s->vocab * row_stride(s->head_rank)));
    if (s->has_backward) {
        p.partial = cuda_rounded(4 * (size_t)(GAIN_PIECES * widest));
        p.row_stats = cuda_rounded(8 * (size_t)(s->heads * s->rows));
    }
    p.squares = cuda_rounded(3 * 8 * SUM_PIECES);
    p.splits = cuda_rounded(flash_decode_bytes(s));
    if (s->has_fp8) p.fp8_scales = cuda_rounded(sizeof(float) * (size_t)s->chunk);
    p.workspace = WORKSPACE;
    p.finite_checks = cuda_rounded(8 * CHECKS);
    return p;
}

/* Returns the number of bytes that reserve allocates. */
static inline size_t cuda_scratch_bytes(const struct shape *s, enum dtype act)
{
    struct cuda_parts p = cuda_parts_of(s, act);
    return p.slots + p.dropped + p.head + p.head_b + p.partial + p.squares + p.row_stats +
           p.splits + p.lora_partial + p.fp8 + p.fp8_scales + p.workspace + p.finite_checks;
}

#endif
