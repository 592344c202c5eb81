/* Products of few rows with weights as they are stored, for generating text.
 *
 * Reading the weights limits their speed. An element has 0.52 bytes in NF4 and 2 bytes in 16 bits,
 * and only two operations are done with it for each row of x. Weights are decoded in registers and
 * used for up to four rows of x before the next weights are read. A task computes with 32 rows of
 * W. The order of a sum does not depend on the number of threads.
 */
#include "kernels/cpu/vec.h"
#include "lib/common/nf4.h"

enum { WEIGHT_TILE = 32, RANK_TILE = 8 };

/* ---- decoding NF4: a unit of UNIT_BLOCKS blocks in PARTS parts of VECTORS vectors ---- */

#if defined(__AVX512F__)

/* A register holds the codes of two blocks: the first block in lanes 0 to 7, the second in lanes 8
 * to 15. A part has the two codes of one byte of each lane. So it takes two shifts to find them,
 * and the bytes need not be widened first. */
enum { UNIT_BLOCKS = 2, VECTORS = 2 };
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

static inline vec read_scales(const float *scales)
{
    __m512 first = _mm512_set1_ps(scales[0]), second = _mm512_set1_ps(scales[1]);
    return (vec)_mm512_mask_blend_ps(0xff00, first, second);
}

#elif defined(__AVX2__)

/* AVX2 can look up a byte in a table of 16 for 32 codes at the same time. So each of the four bytes
 * of a value is looked up by itself, and the bytes are interleaved afterwards. The alternative is a
 * permutation of whole values. A permutation looks up only 8 codes at a time, and uses only three
 * bits of a code, so a table of 16 needs two permutations. On AMD's CPUs each of them takes two
 * operations. */
enum { UNIT_BLOCKS = 1, VECTORS = 4 };
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

#ifndef __AVX512F__
static inline vec read_scales(const float *scales) { return (vec){ 0 } + scales[0]; }
#endif

enum { UNIT = UNIT_BLOCKS * NF4_BLOCK, PARTS = UNIT / (VECTORS * LANES) };
_Static_assert(DECODE_UNIT % UNIT == 0, "dev->reordered has room for whole units");

/* The floats of a row of `in` values of x in the order of look_up: whole units. */
static int64_t reordered_stride(int64_t in) { return ceil_div(in, UNIT) * UNIT; }

/* look_up returns values in another order than that of the weights. So x is brought into the
 * order of look_up. This function returns the place in its unit of the n-th value that look_up
 * returns. */
static int element_of(int n)
{
    int lane = n % LANES, vector = n / LANES % VECTORS, part = n / (VECTORS * LANES);
    if (UNIT_BLOCKS == 2) return 2 * (4 * lane + part) + vector;
    if (VECTORS == 2) return 2 * (part * LANES + lane) + vector;
    /* AVX2 interleaves the two halves of a register separately. */
    int byte = 4 * vector + lane % 4 + lane / 4 * 16;
    return 2 * byte + !part;
}

/* ---- products of one row of NF4 with up to four rows of x ---- */

/* scales has a number after the last block's, which is finite: the second half of the last unit may
 * lie behind the row, where x is 0. */
static inline __attribute__((always_inline)) void dot_nf4(float *y, const uint8_t *codes,
                                                          const float *scales, const float *x,
                                                          int64_t stride, int64_t in, int rows)
{
    vec sum[ROWS_AT_ONCE] = { 0 };
    const struct values values = read_values();
    for (int64_t i = 0; i < in; i += UNIT) {
        uint8_t half[UNIT / 2];
        const uint8_t *unit = codes + i / 2;
        /* The codes of two blocks fill a cache line. */
        if (i / NF4_BLOCK % 2 == 0) prefetch(unit + 8192, CACHE_LINE);
        if (in - i < UNIT) {
            memset(half, 0, sizeof half);
            unit = memcpy(half, unit, NF4_BLOCK / 2);
        }
        vec even[ROWS_AT_ONCE] = { 0 }, odd[ROWS_AT_ONCE] = { 0 };
#pragma GCC unroll 8
        for (int part = 0; part < PARTS; part++) {
            vec value[VECTORS];
            const float *at = x + i + part * VECTORS * LANES;
            look_up(value, values, unit, part);
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < VECTORS; v += 2) {
                    even[r] += value[v] * load_f32(at, r * stride + v * LANES);
                    odd[r] += value[v + 1] * load_f32(at, r * stride + (v + 1) * LANES);
                }
        }
        vec scale = read_scales(scales + i / NF4_BLOCK);
        for (int r = 0; r < rows; r++)
            sum[r] += (even[r] + odd[r]) * scale;
    }
    for (int r = 0; r < rows; r++)
        y[r] = sum_of(sum[r]);
}

/* ---- tasks ---- */

struct decode_call {
    struct device *dev;
    const struct group *g;
    struct mat y, x, residual;
    int64_t rows, in, tile;
    bool is_lora_down; /* computes u = x Aᵀ, else y */
};

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
        float scale;
        nf4_scales(&scale, l, e / NF4_BLOCK, 1);
        row[i] = nf4_value[e % 2 ? codes & 15 : codes >> 4] * scale;
    }
    dot_f32(y, row, row_of(c->x, first), c->x.stride, c->in, rows);
}

/* Computes y[r] = x[first + r] · (row o of W), for up to four rows of x. */
static void dot(float *y, const struct decode_call *c, const struct linear *l, int64_t o,
                int64_t first, int rows, const float *scales, float *row)
{
    const float *x = row_of(c->x, first);
    switch (l->type) {
    case DTYPE_F32:
        dot_f32(y, (const float *)l->weight + o * l->in, x, c->x.stride, c->in, rows);
        break;
    case DTYPE_BF16:
    case DTYPE_F16:
        dot_16(y, (const uint16_t *)l->weight + o * l->in, l->type == DTYPE_BF16, x, c->x.stride,
               c->in, rows);
        break;
    case DTYPE_NF4:
        if (is_reordered(c))
            FOR_ROWS(rows, dot_nf4(y, (const uint8_t *)l->weight + o * l->in / 2, scales,
                                   c->dev->reordered + first * reordered_stride(c->in),
                                   reordered_stride(c->in), c->in, N))
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
    /* a decoded row of weights, or the absmax of its blocks and a 0 */
    float *row = worker_scratch(c->dev, worker);
    int64_t blocks = c->in / NF4_BLOCK;
    bool has_scales = l->type == DTYPE_NF4 && is_reordered(c);
    for (int64_t o = start; o < end; o++) {
        if (has_scales) {
            nf4_scales(row, l, o * blocks, blocks);
            row[blocks] = 0;
        }
        for (int64_t first = 0; first < c->rows; first += ROWS_AT_ONCE) {
            int rows = (int)min_i64(ROWS_AT_ONCE, c->rows - first);
            float y[ROWS_AT_ONCE], adapter[ROWS_AT_ONCE] = { 0 };
            dot(y, c, l, o, first, rows, row, row);
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
        float *to = c->dev->reordered + r * reordered_stride(c->in);
        for (int64_t i = 0; i < c->in; i += UNIT)
            for (int n = 0; n < UNIT; n++) {
                int64_t from = i + element_of(n);
                to[i + n] = from < c->in ? x[from] : 0;
            }
    }
}

void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows)
{
    struct decode_call c = {
        .dev = dev, .g = g, .y = y, .x = x, .residual = residual, .rows = rows, .in = g->at[0].in
    };
    bool has_nf4 = false;
    for (int i = 0; i < g->count; i++)
        has_nf4 |= g->at[i].type == DTYPE_NF4;
    if (has_nf4 && is_reordered(&c)) reorder_rows(&c);
    run(&c, true);
    run(&c, false);
}
