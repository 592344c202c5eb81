/* Products of few rows with weights as they are stored: the decoding of text.
 *
 * Bound by reading the weights: 0.52 bytes an element in NF4, 2 in 16 bits, against
 * two operations for each row. Values are made in registers and used for up to four
 * rows of x before the next are read. A task takes 32 rows of W, whose sums have one
 * order whatever the threads.
 */
#include "../nf4.h"
#include "vec.h"

enum { WEIGHT_TILE = 32, RANK_TILE = 8 };

/* The values of LANES bytes of codes: those of the high nibbles and of the low ones. */
static inline void load_nf4(const uint8_t *codes, vec *high, vec *low)
{
#if defined(__AVX512F__)
    __m512i byte = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)codes));
    __m512 value = _mm512_loadu_ps(nf4_value);
    *high = (vec)_mm512_permutexvar_ps(_mm512_srli_epi32(byte, 4), value);
    *low = (vec)_mm512_permutexvar_ps(byte, value); /* takes the last 4 bits */
#elif defined(__AVX2__)
    __m256i byte = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)codes));
    __m256 negative = _mm256_loadu_ps(nf4_value), positive = _mm256_loadu_ps(nf4_value + 8);
    __m256i top = _mm256_srli_epi32(byte, 4);
    /* The permutation takes 3 bits; the fourth, moved to the sign, chooses the half. */
    *high = (vec)_mm256_blendv_ps(_mm256_permutevar8x32_ps(negative, top),
                                  _mm256_permutevar8x32_ps(positive, top),
                                  _mm256_castsi256_ps(_mm256_slli_epi32(byte, 24)));
    *low = (vec)_mm256_blendv_ps(_mm256_permutevar8x32_ps(negative, byte),
                                 _mm256_permutevar8x32_ps(positive, byte),
                                 _mm256_castsi256_ps(_mm256_slli_epi32(byte, 28)));
#else
    for (int lane = 0; lane < LANES; lane++) {
        (*high)[lane] = nf4_value[codes[lane] >> 4];
        (*low)[lane] = nf4_value[codes[lane] & 15];
    }
#endif
}

/* ---- one row of W with up to four of x ---- */

/* x: for each 2·LANES elements first the even ones, then the odd ones. */
static inline __attribute__((always_inline)) void dot_nf4(float *y, const uint8_t *codes,
                                                          const float *scales, const float *x,
                                                          int64_t stride, int64_t in, int rows)
{
    vec sum[ROWS_AT_ONCE] = { 0 };
    for (int64_t b = 0; b < in / NF4_BLOCK; b++) {
        /* Two blocks' codes are a line. */
        if (b % 2 == 0) ask_for(codes + b * NF4_BLOCK / 2 + ASKED_AHEAD, CACHE_LINE);
        vec even[ROWS_AT_ONCE] = { 0 }, odd[ROWS_AT_ONCE] = { 0 };
#pragma GCC unroll 8
        for (int64_t i = 0; i < NF4_BLOCK; i += 2 * LANES) {
            vec high = { 0 }, low = { 0 };
            const float *at = x + b * NF4_BLOCK + i;
            load_nf4(codes + (b * NF4_BLOCK + i) / 2, &high, &low);
            for (int r = 0; r < rows; r++) {
                even[r] += high * load_f32(at, r * stride);
                odd[r] += low * load_f32(at, r * stride + LANES);
            }
        }
        for (int r = 0; r < rows; r++)
            sum[r] += (even[r] + odd[r]) * scales[b];
    }
    for (int r = 0; r < rows; r++)
        y[r] = sum_of(sum[r]);
}

/* ---- tasks ---- */

struct few {
    struct device *dev;
    const struct group *g;
    struct mat y, x, residual;
    int64_t rows, in, tile;
    bool is_inner; /* u = x Aᵀ, else y */
};

/* Blocks of NF4 do not cross rows, and x lies split. */
static bool is_split(const struct few *c) { return c->in % NF4_BLOCK == 0; }

/* A row of NF4 whose blocks are not its own goes through f32. */
static void dot_unaligned(float *y, const struct linear *l, int64_t o, const struct few *c,
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

/* y[r] = x[first + r] · row o of W, for up to four rows. */
static void dot(float *y, const struct few *c, const struct linear *l, int64_t o, int64_t first,
                int rows, const float *scales, float *row)
{
    const float *x = row_of(c->x, first);
    switch (l->type) {
    case WEIGHT_F32:
        dot_f32(y, (const float *)l->weight + o * l->in, x, c->x.stride, c->in, rows);
        break;
    case WEIGHT_BF16:
    case WEIGHT_F16:
        dot_16(y, (const uint16_t *)l->weight + o * l->in, l->type == WEIGHT_BF16, x, c->x.stride,
               c->in, rows);
        break;
    case WEIGHT_NF4:
        if (is_split(c))
            FOR_ROWS(rows, dot_nf4(y, (const uint8_t *)l->weight + o * l->in / 2, scales,
                                   c->dev->split + first * c->in, c->in, c->in, N))
        else
            dot_unaligned(y, l, o, c, first, rows, row);
        break;
    }
}

static void output_tile(const struct few *c, const struct linear *l, int64_t column,
                        int64_t inner_column, int64_t start, int worker)
{
    int64_t end = least(start + c->tile, l->out);
    float *row = worker_scratch(c->dev, worker); /* of weights, or its scales */
    int64_t blocks = c->in / NF4_BLOCK;
    bool has_scales = l->type == WEIGHT_NF4 && is_split(c);
    for (int64_t o = start; o < end; o++) {
        if (has_scales) nf4_scales(row, l, o * blocks, blocks);
        for (int64_t first = 0; first < c->rows; first += ROWS_AT_ONCE) {
            int rows = (int)least(ROWS_AT_ONCE, c->rows - first);
            float y[ROWS_AT_ONCE], adapter[ROWS_AT_ONCE] = { 0 };
            dot(y, c, l, o, first, rows, row, row);
            if (l->rank)
                dot_f32(adapter, l->b + o * l->rank, row_of(c->x, first) + c->in + inner_column,
                        c->x.stride, l->rank, rows);
            for (int r = 0; r < rows; r++) {
                float before = c->residual.at ? row_of(c->residual, first + r)[column + o] : 0;
                row_of(c->y, first + r)[column + o] = before + y[r] + l->scale * adapter[r];
            }
        }
    }
}

static void inner_tile(const struct few *c, const struct linear *l, int64_t column, int64_t start)
{
    int64_t end = least(start + c->tile, l->rank);
    for (int64_t o = start; o < end; o++)
        for (int64_t first = 0; first < c->rows; first += ROWS_AT_ONCE) {
            int rows = (int)least(ROWS_AT_ONCE, c->rows - first);
            float u[ROWS_AT_ONCE];
            dot_f32(u, l->a + o * c->in, row_of(c->x, first), c->x.stride, c->in, rows);
            for (int r = 0; r < rows; r++)
                row_of(c->x, first + r)[c->in + column + o] = u[r];
        }
}

static int64_t tiles_of(const struct few *c, const struct linear *l)
{
    return pieces(c->is_inner ? l->rank : l->out, c->tile);
}

static void few_tile(void *arg, int64_t task, int worker)
{
    const struct few *c = arg;
    const struct linear *l = c->g->at;
    int64_t column = 0, inner_column = 0;
    for (; task >= tiles_of(c, l); l++) {
        task -= tiles_of(c, l);
        column += l->out;
        inner_column += l->rank;
    }
    if (c->is_inner)
        inner_tile(c, l, inner_column, task * c->tile);
    else
        output_tile(c, l, column, inner_column, task * c->tile, worker);
}

static void run(struct few *c, bool is_inner)
{
    int64_t tiles = 0;
    c->is_inner = is_inner;
    c->tile = is_inner ? RANK_TILE : WEIGHT_TILE;
    for (int i = 0; i < c->g->count; i++)
        tiles += tiles_of(c, &c->g->at[i]);
    if (tiles) pool_run(c->dev->pool, tiles, few_tile, c);
}

static void split_rows(const struct few *c)
{
    for (int64_t r = 0; r < c->rows; r++) {
        const float *x = row_of(c->x, r);
        float *to = c->dev->split + r * c->in;
        for (int64_t i = 0; i < c->in; i += 2 * LANES)
            for (int lane = 0; lane < LANES; lane++) {
                to[i + lane] = x[i + 2 * lane];
                to[i + LANES + lane] = x[i + 2 * lane + 1];
            }
    }
}

void linear_few(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows)
{
    struct few c = {
        .dev = dev, .g = g, .y = y, .x = x, .residual = residual, .rows = rows, .in = g->at[0].in
    };
    bool has_nf4 = false;
    for (int i = 0; i < g->count; i++)
        has_nf4 |= g->at[i].type == WEIGHT_NF4;
    if (has_nf4 && is_split(&c)) split_rows(&c);
    run(&c, true);
    run(&c, false);
}
