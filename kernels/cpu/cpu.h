/* cpu.h - what the CPU kernels share: the device, the cutting of work, matrix products, e^x.
 *
 * Work is cut into tiles whose sizes depend on the shapes alone. A tile is one task of the thread
 * pool, and its matrix products run on that thread. So results have the same bits for any number of
 * threads. Every file in this folder is compiled once for each level of the instruction set, and
 * each level exports its table alone (see the Makefile).
 */
#ifndef LONGQLORA_CPU_H
#define LONGQLORA_CPU_H

#include "kernels/ops.h"
#include "lib/common/arithmetic.h"
#include "lib/common/bf16.h"
#include "lib/common/pool.h"

#include <math.h>
#include <stddef.h>

enum {
    ROW_TILE = 128, /* rows of the result that a task computes if the result has few columns */
    /* A task computes a patch of WIDE_ROWS × WIDE_COLS if the result has more columns. The weights
     * are then read once for 256 rows, and the patch stays in the CPU's cache. */
    WIDE_ROWS = 256,
    WIDE_COLS = 512,
    OUT_TILE = 64,      /* rows that a task computes of a small gradient of a weight */
    WIDE_OUT = 256,     /* rows that a task computes of a large gradient of a weight */
    DROPPED_ROWS = 512, /* rows of x to which dropout is applied together for the gradient of A */
    LIGHT_TILE = 32,    /* rows of one task of an elementwise operation */
    QUERY_TILE = 64,    /* queries of one head that attention processes together */
    ATTENTION_MARGIN = 512, /* the most rows that attention_extent adds on a side, rounded up */
    LOGIT_BYTES = 64 << 20, /* the most bytes that logits may take in memory */
    /* Rows of logits that are computed together even if they take more than LOGIT_BYTES; with fewer
     * rows the head's weights would be read too often. */
    MIN_LOGIT_ROWS = 256,
    SUM_PIECES = 1024,   /* the largest number of partial sums of a flat array */
    FLAT_TILE = 1 << 15, /* elements of one task of an operation on a flat array */
    DECODE_ROWS = 16,    /* for more rows of x, weights are decoded into a slot */
    DECODE_UNIT = 128,   /* a multiple of the NF4 weights that are decoded together */
    DECODE_QUERIES = 4,  /* for more rows of queries, a cache is not cut into splits */
    CACHE_SPLIT = 512,   /* keys in a split */
};

struct device {
    struct pool *pool;
    int threads;
    struct shape shape;
    char *scratch; /* one block of memory, which reserve divides into parts */
    size_t scratch_bytes;
    float *slot[LINEAR_SLOTS];
    size_t slot_floats[LINEAR_SLOTS];
    bool slot_is_due[LINEAR_SLOTS]; /* The first operation that needs the slot must fill it. */
    float *worker;                  /* [threads][worker_floats] */
    size_t worker_floats;
    char *gemm_scratch; /* [threads][gemm_scratch_bytes()] */
    bf16 *packed;       /* the input, or the gradients of the outputs, packed */
    size_t packed_capacity;
    /* [chunk, fp8_floats / chunk] the input, or the gradients of the outputs, rounded to e4m3, and
     * the scale of each row */
    float *fp8, *fp8_scales;
    size_t fp8_floats;
    /* [DECODE_ROWS, widest input in whole DECODE_UNIT] x in the order in which NF4 is decoded. At
     * the level bf16 these are elements of bf16, and x in its own order follows in bf16. */
    float *reordered;
    float *logits;
    size_t logits_floats;
    /* [heads, DECODE_QUERIES, splits of the cache, head_dim + 2] what decode_task stores. */
    float *partial;
    int32_t *ranges; /* [rows + 1] */
    struct fail failed;
    bool has_failed;
};

static inline float *floats(struct mat m) { return (float *)m.at; }
static inline float *row_of(struct mat m, int64_t row) { return (float *)m.at + row * m.stride; }

/* A patch is the part of a product's result that one task computes. Task numbers run down each
 * column of patches, because patches below each other use the same weights. */
struct patch {
    int64_t row, rows, col, cols;
};
static inline int64_t patch_rows(int64_t cols) { return cols > WIDE_COLS ? WIDE_ROWS : ROW_TILE; }
static inline int64_t patches_of(int64_t rows, int64_t cols)
{
    return ceil_div(rows, patch_rows(cols)) * ceil_div(cols, WIDE_COLS);
}
static inline struct patch patch_of(int64_t rows, int64_t cols, int64_t task)
{
    int64_t height = patch_rows(cols), down = ceil_div(rows, height);
    struct patch t = { task % down * height, height, task / down * WIDE_COLS, WIDE_COLS };
    t.rows = min_i64(t.rows, rows - t.row);
    t.cols = min_i64(t.cols, cols - t.col);
    return t;
}

static inline float *head_at(struct mat m, int64_t row, int64_t head, int64_t head_dim)
{
    return row_of(m, row) + head * head_dim;
}

static inline const int32_t *starts_of(struct attention_starts starts, int64_t head)
{
    return head < starts.split ? starts.low_heads : starts.high_heads;
}

static inline float *worker_scratch(struct device *dev, int worker)
{
    return dev->worker + (size_t)worker * dev->worker_floats;
}

/* Computes C[m,n] = alpha · op(A)[m,k] op(B)[k,n] + beta · C, row-major, on the calling thread. op
 * transposes if the flag says so. beta is 0 or 1. Compiled with GEMM_BF16, operands are rounded to
 * bf16 unless k is below 8, and sums are f32. B is multiplied by alpha before it is rounded.
 * scratch: gemm_scratch of the calling worker. */
void gemm(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
          float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc);

/* Returns how many terms of a sum a product of m rows adds in one go, if B is not transposed and
 * has this stride. Attention of some heads cuts its sums like attention of all heads, whose
 * matrices are wider. */
int64_t gemm_depth(int64_t m, int64_t stride);

/* Must be called before the first product. Fails where oneDNN would not get the memory for the code
 * that it generates, because oneDNN would then end the program. */
int gemm_begin(struct fail *why) MUST_USE;
/* True if a product got no memory for its operands and did not write its result. sync then fails.
 */
bool gemm_lacks_memory(void);

/* Writes which library multiplies, and with which instructions, into text[size]. */
void gemm_describe(char *text, size_t size);

/* Bytes that gemm needs on each thread, a multiple of 64. The device allocates them; thread-local
 * arrays would lie on the threads' stacks. */
size_t gemm_scratch_bytes(void);

static inline void *gemm_scratch(const struct device *dev, int worker)
{
    return dev->gemm_scratch ? dev->gemm_scratch + (size_t)worker * gemm_scratch_bytes() : NULL;
}

/* Tiles of bf16 (gemm_tiles.c). In C = A B, k is the index over which a product sums. It numbers
 * the columns of A and the rows of B. A panel is 16 rows of A, or 16 columns of B. */
enum {
    PANEL = 16,  /* rows of A, or columns of B, in a tile */
    TILE_K = 32, /* values of k in a tile */
    TILE_ELEMENTS = PANEL * TILE_K,
};
/* The memory from which an operand is read. x points to the first element that is read. */
struct source {
    const float *x;
    /* The distance, in elements, between a row of A (or column of B) and the next. If k_is_outer is
     * set, it is the distance between the elements of one k and those of the next k. */
    int64_t ld;
    bool k_is_outer; /* If false, elements whose k differ by one are neighbours in memory. */
    float scale;     /* Elements are multiplied by this before they are rounded. */
};
/* Does AMX multiply tiles? If not, the dot products of AVX512_BF16 do. */
bool amx_usable(void);
/* The tiles of several panels. The tiles of one panel are contiguous. The beginnings of two panels
 * are `apart` elements apart. */
struct tiles {
    bf16 *at;
    int64_t apart;
};
void pack_tiles(struct tiles to, struct source from, bool wants_pairs, int64_t width,
                int64_t depth);
/* C[rows, cols] = A B, or C += A B if `adds` is set. Each panel has `count` tiles. A product may be
 * cut along k into calls that add to C; the bits are those of one call. */
void multiply_tiles(float *c, int64_t ldc, struct tiles a, struct tiles b, int64_t rows,
                    int64_t cols, int64_t count, bool adds);

/* An operand that is packed once for many products. packing_usable says whether products are in
 * bf16; if not, the other functions are not called. The operand is cut along k into blocks of
 * PACK_DEPTH; each block has the tiles of all panels. `at` has packed_elements elements and is
 * aligned to 64 bytes. */
enum { PACK_DEPTH = 2048 };
struct packed {
    bf16 *at;
    int64_t width, depth; /* A is [width, depth], B [depth, width] */
};
/* A part of an operand: the rows of A (or columns of B) from start to start + width − 1, and in
 * them the elements from k to k + depth − 1. start is a multiple of 16, k is a multiple of 32. */
struct packed_part {
    int64_t start, width;
    int64_t k, depth;
};
bool packing_usable(void);
size_t packed_elements(int64_t width, int64_t depth);
void pack_operand(const struct packed *to, struct packed_part part, struct source from, bool is_b);
/* C[m,n] = A B, or C += A B if `adds` is set. k is the number of terms of each sum. A view says
 * where an operand of this product begins in a packed one: at row `start` of A (or column `start`
 * of B), a multiple of 16, and at k, a multiple of 32. Padding in the last tile must be zero in one
 * of the operands. The result has the same bits as that of gemm. */
struct packed_view {
    const struct packed *of;
    int64_t start, k;
};
void gemm_packed(int64_t m, int64_t n, int64_t k, struct packed_view a, struct packed_view b,
                 bool adds, float *c, int64_t ldc);

/* Returns the f32 weights of a linear layer: its own, or their copy in the slot. */
const float *linear_weight(const struct device *dev, const struct group *g, int index);

/* A task of the head computes HEAD_COLUMNS logits for every row. HEAD_COLUMNS × PACK_DEPTH weights
 * fill as much cache as the rows of one patch do. If the model's width is small, tasks are cut
 * along the rows instead. */
enum { HEAD_COLUMNS = 256 };
static inline bool head_is_packed(int64_t dim) { return packing_usable() && dim > WIDE_COLS; }

/* Returns how many floats of a thread's scratch attention needs, except for the splits of a cache,
 * whose floats device.c counts. */
size_t attention_floats(const struct shape *s);

/* linear_packed.c: the weights of a group in tiles. PACK_ROWS: rows of weights that a task
 * decodes together. */
enum { MAX_GROUP = 4, PACK_ROWS = 32 };
bool group_is_packed(const struct group *g);
void packed_fill_slot(struct device *dev, const struct group *g);
/* Packed right operands: forward is W for y, backward is W for dx; b_forward and b_backward are
 * scale · B for y and for du; a_backward is A for dx. Those of B and A are empty if there is no
 * adapter. In inference only forward and b_forward are packed. */
struct packed_linear {
    struct packed forward, backward, b_forward, b_backward, a_backward;
};
struct packed_linear packed_linear(const struct device *dev, const struct group *g, int index);
/* packed_alloc finds places for left operands with to[i].depth columns in the device's scratch,
 * from *at on, and moves *at to their end. pack_rows packs all rows of each matrix; pack_rows_of
 * packs some rows, on the calling thread. */
void packed_alloc(struct device *dev, struct packed *to, int count, int64_t rows, bf16 **at);
void pack_rows_of(const struct packed *to, const struct mat *from, int count, int64_t first,
                  int64_t rows);
void pack_rows(struct device *dev, const struct packed *to, const struct mat *from, int count);
size_t packed_slot_floats(const struct slot_shape *s);
size_t packed_rows_floats(const struct slot_shape *s, int64_t rows);

/* linear_bias.c. bias_put: y = residual + bias in a patch of a group's results. If has_residual is
 * set, y has the residual already. bias_gradient: dbias_acc += Σ_t dy. */
void bias_put(const struct group *g, struct mat y, struct patch t, bool has_residual);
void bias_gradient(struct device *dev, const struct linear *l, struct mat dy, int64_t rows);

/* linear_fp8.c: a group in fp8. fp8_round_input and fp8_round_gradients round the left operand of
 * the product. fp8_fwd_patch computes a patch of y = x Wᵀ, or adds it to y; fp8_bwd_patch computes
 * a patch of dx = dy W. Both use the scratch of the worker. */
void fp8_fill_slot(struct device *dev, const struct group *g);
void fp8_round_input(struct device *dev, const struct group *g, struct mat x, int64_t rows);
void fp8_round_gradients(struct device *dev, const struct group *g, const struct mat *dy,
                         int64_t rows);
void fp8_fwd_patch(struct device *dev, const struct group *g, struct mat y, struct patch t,
                   bool adds, int worker);
void fp8_bwd_patch(struct device *dev, const struct group *g, struct mat dx, struct patch t,
                   int worker);
size_t fp8_slot_floats(const struct slot_shape *s);
/* Returns the floats of the rounded rows of the slot's groups, and of their scales. */
size_t fp8_rows_floats(const struct slot_shape *s, int64_t rows);

/* y = residual + bias + x Wᵀ + scale · x Aᵀ Bᵀ for few rows, from the weights as they are stored.
 * Reading the weights takes most of the time. Writes u = x Aᵀ to the columns to the right of x. */
void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows);
/* Decodes elements of an NF4 weight to f32 on the calling thread. first: a multiple of 64. */
void nf4_decode(float *x, const struct linear *l, int64_t first, int64_t count);
/* Returns the absmax of a block of NF4 weights. */
float nf4_absmax(const struct linear *l, int64_t block);

/* Returns e^x, with an error of at most 1.5 units in the last place. Below −87.3 the result is 0,
 * and above 88.7 it is e^88.7, which is nearly the largest f32. NaN gives NaN. There are no
 * branches, so that compilers can vectorize loops over it. */
static inline float fast_exp(float x)
{
    float clamped = x < -87.3f ? -87.3f : x > 88.7f ? 88.7f : x;
    /* Adding 1.5 · 2^23 rounds to an integer. */
    float shifted = clamped * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    /* 2^e is applied as two factors, since 2^128 is not an f32. */
    int32_t e = (int32_t)(float_bits(shifted) - 0x4b400000u), half = e >> 1;
    float low = bits_float((uint32_t)(half + 127) << 23);
    float high = bits_float((uint32_t)(e - half + 127) << 23);
    return x < -87.3f ? 0.0f : p * low * high;
}

/* Replaces each of the `count` values of p by exp(p − row_max), and returns their sum. */
static inline float exp_row(float *restrict p, int64_t count, float row_max)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < count; j++) {
        float e = fast_exp(p[j] - row_max);
        p[j] = e;
        sum += e;
    }
    return sum;
}

static inline float max_row(const float *p, int64_t count)
{
    float row_max = p[0];
#pragma omp simd reduction(max : row_max)
    for (int64_t j = 0; j < count; j++)
        row_max = p[j] > row_max ? p[j] : row_max;
    return row_max;
}

/* Returns the largest |x|. Magnitudes are compared as bits, so that infinity and NaN are the
 * largest. */
static inline float largest_magnitude(const float *x, int64_t count)
{
    uint32_t top = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = float_bits(x[i]) & 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return bits_float(top);
}

/* Converts elements from `first` on, of a weight of any type but NF4, to f32 and back, on the
 * calling thread. */
void widen_range(float *to, const void *from, enum dtype type, int64_t first, int64_t count);
void narrow_range(void *to, enum dtype type, int64_t first, const float *from, int64_t count);

/* Applies dropout to the patch t: out [t.rows, t.cols], which is dense, gets x / (1 − p) where an
 * element is kept, else 0. Runs on the calling thread. x points to the patch's first element, in a
 * matrix of dim columns. out may be x if its rows are dense. */
void dropout_patch(float *out, const float *x, int64_t stride, uint32_t dropout_stream,
                   struct patch t, int64_t dim, struct dropout drop);
/* Adds dropout of `part`, the dense values of the patch t, to the patch of dx. Overwrites part. */
void dropout_add_patch(struct mat dx, float *part, uint32_t dropout_stream, struct patch t,
                       int64_t dim, struct dropout drop);

#endif
