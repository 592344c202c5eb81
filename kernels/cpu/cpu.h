/* cpu.h - what the CPU kernels share: the device, tiles, products, vector maths.
 *
 * Work is cut into tiles whose size depends on the shape alone; each tile is one
 * task of the pool and its products run on one thread. So bits do not depend on
 * the number of threads. Every file here is compiled once for each level of the
 * instruction set; only the table leaves the object (see the Makefile).
 */
#ifndef LONGQLORA_CPU_H
#define LONGQLORA_CPU_H

#include "../../lib/common/bf16.h"
#include "../../lib/common/pool.h"
#include "../ops.h"

#include <math.h>
#include <stddef.h>

enum {
    ROW_TILE = 128,     /* rows a task of a row-wise product takes */
    WIDE_ROWS = 256,    /* and a patch where there are more columns: weights are read once for */
    WIDE_COLS = 512,    /* 256 rows, and the results stay in the cache */
    OUT_TILE = 64,      /* rows of a weight gradient a task takes, */
    WIDE_OUT = 256,     /* and where there are many */
    DROPPED_ROWS = 512, /* masked at once for the gradient of A */
    LIGHT_TILE = 32,    /* rows a task of an elementwise operation takes */
    QUERY_TILE = 64,    /* queries of one head that attention handles at once */
    LOGIT_BYTES = 64 << 20, /* of logits alive at once, but for large vocabularies: */
    MIN_LOGIT_ROWS = 256,   /* so many rows, for which the head's weights are read once */
    SUM_PIECES = 1024,      /* of a flat sum */
    FLAT_TILE = 1 << 15,    /* elements a task of a flat operation takes */
    DECODE_ROWS = 16,       /* up to so many, weights are used as they are stored */
    DECODE_QUERIES =
        4, /* rows up to which attention reads a cache once for all heads that share it */
    CACHE_SPLIT = 512, /* keys of it that a task then takes */
};

struct device {
    struct pool *pool;
    int threads;
    struct shape shape;
    char *scratch; /* one block, carved by reserve */
    size_t scratch_bytes;
    float *slot[LINEAR_SLOTS];
    size_t slot_floats[LINEAR_SLOTS];
    bool slot_is_due[LINEAR_SLOTS]; /* its group is prepared when it is first needed */
    float *worker;                  /* [threads][worker_floats] */
    size_t worker_floats;
    char *gemm_scratch; /* [threads][gemm_scratch_bytes()] */
    bf16 *packed;       /* an input, or gradients of outputs, as tiles */
    size_t packed_capacity;
    float *split; /* [DECODE_ROWS, widest input] x as linear_decode wants it */
    float *logits;
    size_t logits_floats;
    float *partial;  /* [heads, DECODE_QUERIES, splits of the cache, head_dim + 2] */
    int32_t *ranges; /* [rows + 1] */
    struct fail failed;
    bool has_failed;
};

static inline float *floats(struct mat m) { return (float *)m.at; }
static inline float *row_of(struct mat m, int64_t row) { return (float *)m.at + row * m.stride; }
static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t ceil_div(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* A matrix of results cut into tasks. Patches below each other have the same weights and come one
 * after the other. */
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

static inline const int32_t *starts_of(struct spans spans, int64_t head)
{
    return head < spans.split ? spans.first : spans.second;
}

static inline float *worker_scratch(struct device *dev, int worker)
{
    return dev->worker + (size_t)worker * dev->worker_floats;
}

/* C[m,n] = alpha · op(A)[m,k] op(B)[k,n] + beta · C, row-major, on this thread; beta is 0 or 1.
 * Compiled with GEMM_BF16 the operands, one of them times alpha, are rounded to bf16 and the
 * sums are f32. room: gemm_scratch of the thread's worker. */
void gemm(void *scratch, bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k,
          float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc);

/* Before the first product. Fails where there is not the memory that oneDNN takes for its code,
 * without which it would end the program. */
int gemm_begin(struct fail *why) MUST_USE;
/* Had a product no memory for its operands? Its result is not there then; sync tells. */
bool gemm_lacks_memory(void);

/* Bytes that product needs on each thread, a multiple of 64. They are the device's and not
 * thread-local, because thread-local arrays lie on a thread's stack. */
size_t gemm_scratch_bytes(void);

static inline void *gemm_scratch(const struct device *dev, int worker)
{
    return dev->gemm_scratch ? dev->gemm_scratch + (size_t)worker * gemm_scratch_bytes() : NULL;
}

/* AMX's tiles, where they are. A block of one operand, rounded, as tiles; wants_pairs: as B's. */
enum {
    PANEL = 16,  /* rows of A, or columns of B, in a tile */
    TILE_K = 32, /* k in a tile */
    TILE_ELEMENTS = PANEL * TILE_K,
};
/* Where an operand comes from: x is at the corner of what is asked for. */
struct source {
    const float *x;
    int64_t
        ld; /* elements between its k, if k_is_outer, else between its strips' rows or columns */
    bool k_is_outer; /* the others are neighbours */
    float scale;     /* elements count times this, before they are rounded */
};
bool amx_usable(void);
/* Tiles of strips, those of one after the other; `apart` elements from a strip's to the next's. */
struct tiles {
    bf16 *at;
    int64_t apart;
};
void amx_pack(struct tiles to, struct source from, bool wants_pairs, int64_t panels, int64_t depth);
/* C[rows, cols] = or += A B, of so many tiles a strip. A sum goes on from what is there: blocks of
 * k one after the other make the sum that one block would. */
void amx_multiply(float *c, int64_t ldc, struct tiles a, struct tiles b, int64_t rows, int64_t cols,
                  int64_t count, bool adds);

/* An operand of many products, rounded and laid out once where there are tiles (packing_usable;
 * elsewhere the rest is not called): blocks of PACK_DEPTH k, each with all tiles of its strips,
 * which are rows of A or columns of B. at: packed_capacity, on 64 bytes. */
enum { PACK_DEPTH = 2048 };
struct packed {
    bf16 *at;
    int64_t panels, depth;
};
struct packed_part {
    int64_t panel, panels; /* strip: a multiple of 16 */
    int64_t k, depth;      /* k: a multiple of 32 */
};
bool packing_usable(void);
size_t packed_elements(int64_t panels, int64_t depth);
void pack_operand(const struct packed *to, struct packed_part part, struct source from, bool is_b);
/* C[m,n] = or += A B over k of their depth, from these corners on: strips are multiples of 16, k of
 * 32. What fills up the last tile is zero, in one of the two. The same bits as product's. */
struct packed_view {
    const struct packed *of;
    int64_t panel, k;
};
void gemm_packed(int64_t m, int64_t n, int64_t k, struct packed_view a, struct packed_view b,
                 bool adds, float *c, int64_t ldc);

/* f32 weights of the linear: its own, or the slot's copy. */
const float *linear_weight(const struct device *dev, const struct group *g, int index);

/* Columns of a result of the head that a task makes for all rows; so many by PACK_DEPTH of the
 * weights are as much as a patch's rows. A narrow head is cut along rows instead. */
enum { HEAD_COLUMNS = 256 };
static inline bool head_is_packed(int64_t dim) { return packing_usable() && dim > WIDE_COLS; }

/* Of a thread's scratch that attention takes, but for few rows of a cache. */
size_t attention_floats(const struct shape *s);

/* linear_packed.c: a group whose packed weights are in its slot as tiles; operands of its products.
 */
enum { MAX_GROUP = 4, PACK_ROWS = 32 /* of weights that a task decodes at once */ };
bool group_is_packed(const struct group *g);
void packed_fill_slot(struct device *dev, const struct group *g);
/* Right operands: W for y and for dx; scale · B for y and for du, A for dx, of rank 0 if there is
 * no adapter; all but those for y only where there is a backward. */
struct packed_linear {
    struct packed forward, backward, b_forward, b_backward, a_backward;
};
struct packed_linear packed_linear(const struct device *dev, const struct group *g, int index);
/* Places for left operands of to[i].depth columns, in the device's scratch from *at on, which goes
 * on behind them; and what lies there: rows of each mat, of a pool's task or all. */
void packed_alloc(struct device *dev, struct packed *to, int count, int64_t rows, bf16 **at);
void pack_rows_of(const struct packed *to, const struct mat *from, int count, int64_t first,
                  int64_t rows);
void pack_rows(struct device *dev, const struct packed *to, const struct mat *from, int count);
size_t packed_slot_floats(const struct slot_shape *s);
size_t packed_rows_floats(const struct slot_shape *s, int64_t rows);

/* y = residual + x Wᵀ + scale · x Aᵀ Bᵀ for few rows, from the weights as they are stored: bound
 * by reading them. u lands right of x, as in linear_inner. */
void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows);
/* Elements of an NF4 weight in f32, from the beginning of a block on, on this thread. */
void nf4_decode(float *x, const struct linear *l, int64_t first, int64_t count);
/* The absmax of `count` blocks from block `first` on. */
void nf4_scales(float *scales, const struct linear *l, int64_t first, int64_t count);

/* e^x to 1.5 units in the last place; 0 below -87.3, the largest f32 above 88.7; NaN
 * stays. Written so that loops over it become vector code. */
static inline float fast_exp(float x)
{
    float clamped = x < -87.3f ? -87.3f : x > 88.7f ? 88.7f : x;
    float shifted = clamped * 1.44269504f + 12582912.0f; /* 1.5 · 2^23: rounds to an integer */
    float n = shifted - 12582912.0f;
    float r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    /* Two factors, since 2^128 has no f32. */
    int32_t e = (int32_t)(float_bits(shifted) - 0x4b400000u), half = e >> 1;
    float low = bits_float((uint32_t)(half + 127) << 23);
    float high = bits_float((uint32_t)(e - half + 127) << 23);
    return x < -87.3f ? 0.0f : p * low * high;
}

/* p[0..count) = exp(p - top); returns the sum. */
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

/* Elements first … of a weight of any type but NF4, in f32, on this thread; and back. */
void widen_range(float *to, const void *from, enum dtype type, int64_t first, int64_t count);
void narrow_range(void *to, enum dtype type, int64_t first, const float *from, int64_t count);

/* out [t.rows, t.cols] densely = keep ? x / (1 − p) : 0, x at the tile's corner of a matrix of dim
 * columns, on this thread; out may be x where its rows are dense. */
void dropout_patch(float *out, const float *x, int64_t stride, uint32_t site, struct patch t,
                   int64_t dim, struct dropout drop);

#endif
