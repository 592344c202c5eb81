/* Products of few rows with weights as they are stored, for generating text.
 *
 * Reading the weights limits their speed. An element has 0.52 bytes in NF4 and 2 bytes in 16 bits,
 * and only two operations are done with it for each row of x. Weights are decoded in registers and
 * used for up to four rows of x before the next weights are read. A task computes with 32 rows of
 * W. The order of a sum does not depend on the number of threads.
 *
 * In f32, the arithmetic of NF4 takes longer than reading it on CPUs with fast memory. At the level
 * bf16, x and the 16 values of NF4 are rounded to bf16: one instruction looks up 32 values, and one
 * (VDPBF16PS) multiplies and adds them. Weights in bf16 are multiplied in this way too.
 */
#include "kernels/cpu/vec.h"
#include "lib/common/nf4.h"

enum { WEIGHT_TILE = 32, RANK_TILE = 8 };

/* ---- decoding NF4: a unit of UNIT_BLOCKS blocks in PARTS parts of VECTORS vectors ---- */

#if defined(GEMM_BF16)

/* A register holds the codes of two blocks, in 32 words of four codes. A part has one code of each
 * word. A dot product adds the products of two words, so the first block's sums are in lanes 0 to
 * 7 and the second block's in lanes 8 to 15. */
enum { UNIT_BLOCKS = 2, VECTORS = 1, WORDS = 32 };
typedef bf16 decode_x;
struct values {
    __m512i of;
};

/* A permutation uses the lowest 5 bits of each word, of which 4 are the code, so each value is in
 * the table twice. */
static inline struct values read_values(void)
{
    _Alignas(64) bf16 table[WORDS];
    for (int i = 0; i < WORDS; i++)
        table[i] = bf16_from_float(nf4_value[i % 16]);
    return (struct values){ _mm512_load_si512(table) };
}

static inline __m512bh look_up(struct values v, const uint8_t *codes, int part)
{
    static const unsigned shift[] = { 4, 0, 12, 8 };
    __m512i all = _mm512_srli_epi16(_mm512_loadu_si512(codes), shift[part]);
    return (__m512bh)_mm512_permutexvar_epi16(all, v.of);
}

#elif defined(__AVX512F__)

/* A register holds the codes of two blocks: the first block in lanes 0 to 7, the second in lanes 8
 * to 15. A part has the two codes of one byte of each lane. So it takes two shifts to find them,
 * and the bytes need not be widened first. */
enum { UNIT_BLOCKS = 2, VECTORS = 2 };
typedef float decode_x;
struct values {
    vec of;
};

static inline struct values read_values(void)
{
    return (struct values){ (vec)_mm512_loadu_ps(nf4_value) };
}

/* The permutation uses only the lowest 4 bits of each lane. */
static inline void look_up(vec *to, struct values v, const uint8_t *codes, int part)
{
    __m512i both = _mm512_loadu_si512(codes);
    unsigned bits = 8 * (unsigned)part;
    to[0] = (vec)_mm512_permutexvar_ps(_mm512_srli_epi32(both, bits + 4), (__m512)v.of);
    to[1] = (vec)_mm512_permutexvar_ps(_mm512_srli_epi32(both, bits), (__m512)v.of);
}

#elif defined(__AVX2__)

/* AVX2 can look up a byte in a table of 16 for 32 codes at the same time. So each of the four bytes
 * of a value is looked up by itself, and the bytes are interleaved afterwards. The alternative is a
 * permutation of whole values. A permutation looks up only 8 codes at a time, and uses only three
 * bits of a code, so a table of 16 needs two permutations. On AMD's CPUs each of them takes two
 * operations. */
enum { UNIT_BLOCKS = 1, VECTORS = 4 };
typedef float decode_x;
struct values {
    __m256i byte[4]; /* byte[k] has byte k of all 16 values, twice */
};

static inline struct values read_values(void)
{
    struct values v;
    const __m128i by_byte = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128 four[4];
    for (int i = 0; i < 4; i++) {
        __m128i bytes = _mm_castps_si128(_mm_loadu_ps(nf4_value + 4 * i));
        four[i] = _mm_castsi128_ps(_mm_shuffle_epi8(bytes, by_byte));
    }
    _MM_TRANSPOSE4_PS(four[0], four[1], four[2], four[3]);
    for (int k = 0; k < 4; k++)
        v.byte[k] = _mm256_broadcastsi128_si256(_mm_castps_si128(four[k]));
    return v;
}

/* Part 0 decodes the low nibbles, part 1 the high ones. */
static inline void look_up(vec *to, struct values v, const uint8_t *codes, int part)
{
    __m256i both = _mm256_loadu_si256((const void *)codes);
    __m256i code = _mm256_and_si256(part ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
    __m256i byte[4];
    for (int k = 0; k < 4; k++)
        byte[k] = _mm256_shuffle_epi8(v.byte[k], code);
    __m256i low = _mm256_unpacklo_epi8(byte[0], byte[1]),
            low_top = _mm256_unpacklo_epi8(byte[2], byte[3]),
            high = _mm256_unpackhi_epi8(byte[0], byte[1]),
            high_top = _mm256_unpackhi_epi8(byte[2], byte[3]);
    to[0] = (vec)_mm256_unpacklo_epi16(low, low_top);
    to[1] = (vec)_mm256_unpackhi_epi16(low, low_top);
    to[2] = (vec)_mm256_unpacklo_epi16(high, high_top);
    to[3] = (vec)_mm256_unpackhi_epi16(high, high_top);
}

#else

enum { UNIT_BLOCKS = 1, VECTORS = 2 };
typedef float decode_x;
struct values {
    const float *at;
};

static inline struct values read_values(void) { return (struct values){ nf4_value }; }

static inline void look_up(vec *to, struct values v, const uint8_t *codes, int part)
{
    vec high = { 0 }, low = { 0 };
    for (int lane = 0; lane < LANES; lane++) {
        high[lane] = v.at[codes[part * LANES + lane] >> 4];
        low[lane] = v.at[codes[part * LANES + lane] & 15];
    }
    to[0] = high;
    to[1] = low;
}

#endif

/* Returns a number for each lane: the first for the lanes of a unit's first block, the second for
 * those of its second block, if a unit has two. */
static inline vec lanes_of_blocks(const float *first, const float *second)
{
#if defined(__AVX512F__)
    return (vec)_mm512_mask_blend_ps(0xff00, _mm512_set1_ps(*first), _mm512_set1_ps(*second));
#else
    (void)second;
    return (vec){ 0 } + *first;
#endif
}

static inline decode_x decode_x_of(float x)
{
#if defined(GEMM_BF16)
    return bf16_from_float(x);
#else
    return x;
#endif
}

/* The values that look_up returns at once, and how often it is called for a unit. */
enum {
    UNIT = UNIT_BLOCKS * NF4_BLOCK,
    VALUES = VECTORS * (int)(sizeof(vec) / sizeof(decode_x)),
    PARTS = UNIT / VALUES
};
_Static_assert(DECODE_UNIT % UNIT == 0, "dev->reordered has room for whole units");

/* The elements of a row of `in` values of x in the order of look_up: whole units. */
static int64_t reordered_stride(int64_t in) { return ceil_div(in, UNIT) * UNIT; }

/* look_up returns values in another order than that of the weights. So x is brought into the
 * order of look_up. This function returns the place in its unit of the n-th value that look_up
 * returns. */
static int element_of(int n)
{
    if (VECTORS == 1) return PARTS * (n % VALUES) + n / VALUES;
    int lane = n % LANES, vector = n / LANES % VECTORS, part = n / (VECTORS * LANES);
    if (UNIT_BLOCKS == 2) return 2 * (4 * lane + part) + vector;
    if (VECTORS == 2) return 2 * (part * LANES + lane) + vector;
    /* AVX2 interleaves the two halves of a register separately. */
    int byte = 4 * vector + lane % 4 + lane / 4 * 16;
    return 2 * byte + !part;
}

/* ---- products of one row of NF4 with up to four rows of x ---- */

/* Adds the products of a unit of weights with up to four rows of x to sum, times the absmax of the
 * weights' blocks. */
#if defined(GEMM_BF16)

static inline __attribute__((always_inline)) void add_unit(vec *sum, struct values values,
                                                           const uint8_t *unit, const decode_x *x,
                                                           int64_t stride, int rows, vec scale)
{
    __m512 of[ROWS_AT_ONCE] = { 0 };
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; part++) {
        __m512bh value = look_up(values, unit, part);
        for (int r = 0; r < rows; r++) {
            const bf16 *at = x + r * stride + part * VALUES;
            of[r] = _mm512_dpbf16_ps(of[r], value, (__m512bh)_mm512_loadu_si512(at));
        }
    }
    for (int r = 0; r < rows; r++)
        sum[r] += (vec)of[r] * scale;
}

#else

static inline __attribute__((always_inline)) void add_unit(vec *sum, struct values values,
                                                           const uint8_t *unit, const decode_x *x,
                                                           int64_t stride, int rows, vec scale)
{
    vec even[ROWS_AT_ONCE] = { 0 }, odd[ROWS_AT_ONCE] = { 0 };
#pragma GCC unroll 8
    for (int part = 0; part < PARTS; part++) {
        vec value[VECTORS];
        const float *at = x + part * VALUES;
        look_up(value, values, unit, part);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < VECTORS; v += 2) {
                even[r] += value[v] * load_f32(at, r * stride + v * LANES);
                odd[r] += value[v + 1] * load_f32(at, r * stride + (v + 1) * LANES);
            }
    }
    for (int r = 0; r < rows; r++)
        sum[r] += (even[r] + odd[r]) * scale;
}

#endif

/* Returns the scale by which the codes of the absmax of a unit's blocks are multiplied, for each
 * lane. The unit begins with this block; `last` is 1 if it has a second block, else 0. */
static inline vec nested_scales(const struct linear *l, int64_t block, int last)
{
    if (!l->absmax) return (vec){ 0 };
    const float *scale = l->absmax_scale;
    return lanes_of_blocks(scale + block / NF4_NESTED_BLOCK,
                           scale + (block + last) / NF4_NESTED_BLOCK);
}

/* Returns the absmax of each lane's block. nested is what nested_scales returns for this unit. */
static inline vec absmax_of_unit(const struct linear *l, int64_t block, int last, vec nested)
{
    const float *scale = l->absmax_scale + block;
    if (!l->absmax) return lanes_of_blocks(scale, scale + last);
    const uint8_t *code = l->absmax + block;
    return lanes_of_blocks(nf4_absmax_value + code[0], nf4_absmax_value + code[last]) * nested +
           l->offset;
}

/* y[r] = (row o of W) · (row r of x), for up to four rows of x. */
static inline __attribute__((always_inline)) void dot_nf4(float *y, const struct linear *l,
                                                          int64_t o, struct values values,
                                                          const decode_x *x, int64_t stride,
                                                          int rows)
{
    enum { LAST = UNIT_BLOCKS - 1 };
    vec sum[ROWS_AT_ONCE] = { 0 };
    int64_t in = l->in, whole = in / UNIT * UNIT, block = o * in / NF4_BLOCK;
    const uint8_t *codes = (const uint8_t *)l->weight + o * in / 2;
    for (int64_t i = 0; i < whole;) {
        /* These units' blocks have the same nested scale; or it is one unit in which it changes. */
        int64_t first = block + i / NF4_BLOCK;
        int64_t units = (NF4_NESTED_BLOCK - first % NF4_NESTED_BLOCK) / UNIT_BLOCKS;
        int64_t end = min_i64(whole, i + (units ? units : 1) * UNIT);
        vec nested = nested_scales(l, first, LAST);
        for (; i < end; i += UNIT) {
            const uint8_t *unit = codes + i / 2;
            /* The codes of two blocks fill a cache line. */
            if (i / NF4_BLOCK % 2 == 0) prefetch_l2(unit + 8192);
            add_unit(sum, values, unit, x + i, stride, rows,
                     absmax_of_unit(l, block + i / NF4_BLOCK, LAST, nested));
        }
    }
    if (whole < in) {
        uint8_t unit[UNIT / 2] = { 0 };
        int64_t first = block + whole / NF4_BLOCK;
        memcpy(unit, codes + whole / 2, NF4_BLOCK / 2);
        add_unit(sum, values, unit, x + whole, stride, rows,
                 absmax_of_unit(l, first, 0, nested_scales(l, first, 0)));
    }
    for (int r = 0; r < rows; r++)
        y[r] = sum_of(sum[r]);
}

#if defined(GEMM_BF16)

/* y[r] = w · (row r of x), for up to four rows of x. */
static inline __attribute__((always_inline)) void dot_bf16(float *y, const bf16 *w, const bf16 *x,
                                                           int64_t stride, int64_t in, int rows)
{
    enum { AT_ONCE = CACHE_LINE / sizeof(bf16) };
    __m512 sum[ROWS_AT_ONCE][SUMS] = { 0 };
    int64_t i = 0;
    for (; i + SUMS * AT_ONCE <= in; i += SUMS * AT_ONCE) {
        for (int k = 0; k < SUMS; k++) {
            prefetch_l2(w + i + k * AT_ONCE + 4096);
            const bf16 *at = x + i + k * AT_ONCE;
            __m512bh value = (__m512bh)_mm512_loadu_si512(w + i + k * AT_ONCE);
            for (int r = 0; r < rows; r++)
                sum[r][k] = _mm512_dpbf16_ps(sum[r][k], value,
                                             (__m512bh)_mm512_loadu_si512(at + r * stride));
        }
    }
    for (; i < in; i += AT_ONCE) {
        __mmask32 there = in - i < AT_ONCE ? (1u << (in - i)) - 1 : UINT32_MAX;
        __m512bh value = (__m512bh)_mm512_maskz_loadu_epi16(there, w + i);
        for (int r = 0; r < rows; r++) {
            __m512i at = _mm512_maskz_loadu_epi16(there, x + r * stride + i);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], value, (__m512bh)at);
        }
    }
    for (int r = 0; r < rows; r++)
        y[r] = sum_of((vec)((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3])));
}

#endif

/* ---- tasks ---- */

struct decode_call {
    struct device *dev;
    const struct group *g;
    struct mat y, x, residual;
    int64_t rows, in, tile;
    bool is_lora_down;    /* computes u = x Aᵀ, else y */
    struct values values; /* of NF4 */
};

/* The rows of x in bf16, at the level bf16. They lie behind those in the order of look_up. */
static bf16 *rounded_row(const struct decode_call *c, int64_t row)
{
    int64_t stride = reordered_stride(c->in);
    return (bf16 *)(void *)c->dev->reordered + (DECODE_ROWS + row) * stride;
}

/* True if every row of NF4 weights begins with a block. Then x is copied to dev->reordered, in the
 * order of look_up. */
static bool is_reordered(const struct decode_call *c) { return c->in % NF4_BLOCK == 0; }

/* Computes the products of a row of NF4 weights that does not begin with a block. The row is
 * decoded to f32 first. */
static void dot_unaligned(float *y, const struct linear *l, int64_t o, const struct decode_call *c,
                          int64_t first, int rows, float *row)
{
    for (int64_t i = 0; i < l->in; i++) {
        int64_t e = o * l->in + i;
        uint8_t codes = ((const uint8_t *)l->weight)[e / 2];
        row[i] = nf4_value[e % 2 ? codes & 15 : codes >> 4] * nf4_absmax(l, e / NF4_BLOCK);
    }
    dot_f32(y, row, row_of(c->x, first), c->x.stride, c->in, rows);
}

/* Computes y[r] = x[first + r] · (row o of W), for up to four rows of x. */
static void dot(float *y, const struct decode_call *c, const struct linear *l, int64_t o,
                int64_t first, int rows, float *row)
{
    const float *x = row_of(c->x, first);
    switch (l->type) {
    case DTYPE_F32:
        dot_f32(y, (const float *)l->weight + o * l->in, x, c->x.stride, c->in, rows);
        break;
    case DTYPE_BF16:
#if defined(GEMM_BF16)
        FOR_ROWS(rows, dot_bf16(y, (const bf16 *)l->weight + o * l->in, rounded_row(c, first),
                                reordered_stride(c->in), c->in, N))
        break;
#endif
    case DTYPE_F16:
        dot_16(y, (const uint16_t *)l->weight + o * l->in, l->type == DTYPE_BF16, x, c->x.stride,
               c->in, rows);
        break;
    case DTYPE_NF4:
        if (is_reordered(c))
            FOR_ROWS(rows,
                     dot_nf4(y, l, o, c->values,
                             (const decode_x *)c->dev->reordered + first * reordered_stride(c->in),
                             reordered_stride(c->in), N))
        else
            dot_unaligned(y, l, o, c, first, rows, row);
        break;
    default:
        must(false);
    }
}

static void output_tile(const struct decode_call *c, const struct linear *l, int64_t column,
                        int64_t u_column, int64_t start, int worker)
{
    int64_t end = min_i64(start + c->tile, l->out);
    float *row = worker_scratch(c->dev, worker); /* for a decoded row of weights */
    for (int64_t o = start; o < end; o++) {
        for (int64_t first = 0; first < c->rows; first += ROWS_AT_ONCE) {
            int rows = (int)min_i64(ROWS_AT_ONCE, c->rows - first);
            float y[ROWS_AT_ONCE], adapter[ROWS_AT_ONCE] = { 0 };
            dot(y, c, l, o, first, rows, row);
            if (l->rank)
                dot_f32(adapter, l->b + o * l->rank, row_of(c->x, first) + c->in + u_column,
                        c->x.stride, l->rank, rows);
            for (int r = 0; r < rows; r++) {
                float before = c->residual.at ? row_of(c->residual, first + r)[column + o] : 0;
                if (l->bias) before += l->bias[o];
                row_of(c->y, first + r)[column + o] = before + y[r] + l->scale * adapter[r];
            }
        }
    }
}

static void lora_down_tile(const struct decode_call *c, const struct linear *l, int64_t column,
                           int64_t start)
{
    int64_t end = min_i64(start + c->tile, l->rank);
    for (int64_t o = start; o < end; o++)
        for (int64_t first = 0; first < c->rows; first += ROWS_AT_ONCE) {
            int rows = (int)min_i64(ROWS_AT_ONCE, c->rows - first);
            float u[ROWS_AT_ONCE];
            dot_f32(u, l->a + o * c->in, row_of(c->x, first), c->x.stride, c->in, rows);
            for (int r = 0; r < rows; r++)
                row_of(c->x, first + r)[c->in + column + o] = u[r];
        }
}

static int64_t tiles_of(const struct decode_call *c, const struct linear *l)
{
    return ceil_div(c->is_lora_down ? l->rank : l->out, c->tile);
}

static void decode_tile(void *arg, int64_t task, int worker)
{
    const struct decode_call *c = arg;
    const struct linear *l = c->g->at;
    int64_t column = 0, u_column = 0;
    for (; task >= tiles_of(c, l); l++) {
        task -= tiles_of(c, l);
        column += l->out;
        u_column += l->rank;
    }
    if (c->is_lora_down)
        lora_down_tile(c, l, u_column, task * c->tile);
    else
        output_tile(c, l, column, u_column, task * c->tile, worker);
}

static void run(struct decode_call *c, bool is_lora_down)
{
    int64_t tiles = 0;
    c->is_lora_down = is_lora_down;
    c->tile = is_lora_down ? RANK_TILE : WEIGHT_TILE;
    for (int i = 0; i < c->g->count; i++)
        tiles += tiles_of(c, &c->g->at[i]);
    if (tiles) pool_run(c->dev->pool, tiles, decode_tile, c);
}

static void reorder_rows(const struct decode_call *c)
{
    for (int64_t r = 0; r < c->rows; r++) {
        const float *x = row_of(c->x, r);
        decode_x *to = (decode_x *)c->dev->reordered + r * reordered_stride(c->in);
        for (int64_t i = 0; i < c->in; i += UNIT)
            for (int n = 0; n < UNIT; n++) {
                int64_t from = i + element_of(n);
                to[i + n] = decode_x_of(from < c->in ? x[from] : 0);
            }
    }
}

static void round_rows(const struct decode_call *c)
{
    for (int64_t r = 0; r < c->rows; r++) {
        const float *x = row_of(c->x, r);
        bf16 *to = rounded_row(c, r);
        for (int64_t i = 0; i < c->in; i++)
            to[i] = bf16_from_float(x[i]);
    }
}

void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows)
{
    struct decode_call c = {
        .dev = dev, .g = g, .y = y, .x = x, .residual = residual, .rows = rows, .in = g->at[0].in
    };
    bool has_nf4 = false, has_bf16 = false;
    for (int i = 0; i < g->count; i++) {
        has_nf4 |= g->at[i].type == DTYPE_NF4;
        has_bf16 |= g->at[i].type == DTYPE_BF16;
    }
    if (has_nf4) c.values = read_values();
    if (has_nf4 && is_reordered(&c)) reorder_rows(&c);
    if (has_bf16 && packing_usable()) round_rows(&c);
    run(&c, true);
    run(&c, false);
}
