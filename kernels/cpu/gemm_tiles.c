/* Matrix products in bf16, on the tile registers of AMX (Intel 64 and IA-32 Architectures Software
 * Developer's Manual, volume 1, chapter 18) or, on CPUs without AMX, by the dot products of
 * AVX512_BF16 (VDPBF16PS, volume 2).
 *
 * k is the index over which a product sums. A tile of A holds the elements of 16 rows and 32
 * consecutive values of k. A tile of B holds the elements of 16 columns and 32 consecutive values
 * of k, ordered by pairs of k: first k 0 and 1 of all columns, then k 2 and 3, and so on. Blocks of
 * both operands are rounded to bf16 and packed into tiles, which stay in the second-level cache.
 * Then AMX sums two by two tiles of C in registers; without AMX it is one tile of C, in the 16
 * registers of its rows. Packing costs one load, half a conversion and half a store for 16
 * elements, and 2 more shuffles if the operand is transposed.
 */
#include "kernels/cpu/cpu.h"

#if defined(GEMM_BF16)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool ask_for_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    bool has_amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1 && d >> 24 & 1;
    /* "dots" disables AMX, to test the bf16 dot products without it */
    const char *limit = getenv("LONGQLORA_CPU");
    if (limit && !strcmp(limit, "dots")) return false;
    return has_amx && !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}

bool amx_usable(void)
{
    /* 1: no, 2: yes, 0: not asked yet. Threads that ask at the same time find the same answer. */
    static int known;
    int now = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!now) {
        now = ask_for_tiles() ? 2 : 1;
        __atomic_store_n(&known, now, __ATOMIC_RELAXED);
    }
    return now == 2;
}

/* Configures all eight tile registers as 16 rows of 64 bytes. Each thread has a configuration of
 * its own. */
static void configure(void)
{
    static __thread bool is_configured;
    if (is_configured) return;
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_per_row[16];
        uint8_t rows[16];
    } config = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        config.bytes_per_row[i] = TILE_K * sizeof(bf16);
        config.rows[i] = PANEL;
    }
    _tile_loadconfig(&config);
    is_configured = true;
}

/* Transposes 16 × 16 elements of 32 bits. */
static inline void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    /* Now r[4g + c] holds, in each quarter of 128 bits, column c of rows 4g … 4g + 3. */
    for (int c = 0; c < 4; c++)
        for (int h = 0; h < 2; h++) {
            t[8 * h + c] = _mm512_shuffle_i32x4(r[8 * h + c], r[8 * h + 4 + c], 0x88);
            t[8 * h + 4 + c] = _mm512_shuffle_i32x4(r[8 * h + c], r[8 * h + 4 + c], 0xdd);
        }
    for (int c = 0; c < 4; c++) {
        r[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
        r[4 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88);
        r[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xdd);
        r[12 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xdd);
    }
}

static inline __mmask16 first_of(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0);
}

/* Multiplies two vectors by scale and rounds them to bf16; low becomes the lower half. */
static inline __m512i rounded(__m512 high, __m512 low, float scale)
{
    if (scale != 1) {
        high = _mm512_mul_ps(high, _mm512_set1_ps(scale));
        low = _mm512_mul_ps(low, _mm512_set1_ps(scale));
    }
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* Loads the elements of a panel's 16 rows (or columns) and of 32 values of k, from memory in which
 * consecutive k of a row are neighbours. Only `width` rows and `depth` values of k exist; all other
 * elements become 0. */
static inline void load_rows(__m512i r[16], const float *x, int64_t ld, int64_t width,
                             int64_t depth, float scale)
{
    for (int64_t i = 0; i < PANEL; i++) {
        __mmask16 there = i < width ? 0xffff : 0;
        __m512 low = _mm512_maskz_loadu_ps(there & first_of(depth), x + i * ld);
        __m512 high = _mm512_maskz_loadu_ps(there & first_of(depth - 16), x + i * ld + 16);
        r[i] = rounded(high, low, scale);
    }
}

/* Loads the same elements from memory in which the 16 elements of one k are neighbours. r[p]
 * becomes the pair of k 2p and 2p + 1 of all 16 rows (or columns). */
static inline void load_pairs(__m512i r[16], const float *x, int64_t ld, int64_t width,
                              int64_t depth, float scale)
{
    static const uint16_t order[32] = { 0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                        21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                        11, 27, 12, 28, 13, 29, 14, 30, 15, 31 };
    const __m512i interleave = _mm512_loadu_si512(order);
    __mmask16 mask = first_of(width);
    for (int64_t p = 0; p < TILE_K / 2; p++) {
        const float *row = x + 2 * p * ld;
        __m512 even = _mm512_maskz_loadu_ps(2 * p < depth ? mask : 0, row);
        __m512 odd = _mm512_maskz_loadu_ps(2 * p + 1 < depth ? mask : 0, row + ld);
        r[p] = _mm512_permutexvar_epi16(interleave, rounded(odd, even, scale));
    }
}

/* Packs the tiles in the order in which their elements are read from memory. If k is the outer
 * dimension, it packs the first tile of every panel, then the second of every panel, and so on;
 * else panel after panel. */
static inline __attribute__((always_inline)) void
pack_scaled(struct tiles to, struct source from, bool wants_pairs, int64_t width, int64_t depth)
{
    int64_t across = ceil_div(width, PANEL), down = ceil_div(depth, TILE_K);
    int64_t outer = from.k_is_outer ? down : across, inner = from.k_is_outer ? across : down;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t n = 0; n < inner; n++) {
            int64_t panel = from.k_is_outer ? n : o, k_tile = from.k_is_outer ? o : n;
            int64_t start = panel * PANEL, k = k_tile * TILE_K;
            bf16 *tile = to.at + panel * to.apart + k_tile * TILE_ELEMENTS;
            __m512i r[16];
            if (from.k_is_outer)
                load_pairs(r, from.x + k * from.ld + start, from.ld, width - start, depth - k,
                           from.scale);
            else
                load_rows(r, from.x + start * from.ld + k, from.ld, width - start, depth - k,
                          from.scale);
            if (from.k_is_outer != wants_pairs) transpose(r);
            for (int i = 0; i < 16; i++)
                _mm512_store_si512(tile + i * TILE_K, r[i]);
        }
}

void pack_tiles(struct tiles to, struct source from, bool wants_pairs, int64_t width, int64_t depth)
{
    if (from.scale != 1) {
        pack_scaled(to, from, wants_pairs, width, depth);
        return;
    }
    from.scale = 1; /* lets the compiler leave out the multiplication */
    pack_scaled(to, from, wants_pairs, width, depth);
}

/* C = A B, or C += A B, for one or two panels of A and one or two of B, with `count` tiles each. If
 * there is only one panel, the part of C for the second one is garbage. */
static void multiply_on_amx(float *c, int64_t ldc, struct tiles a, struct tiles b, int64_t count,
                            bool second_a, bool second_b, bool adds)
{
    enum { BYTES = TILE_K * sizeof(bf16) };
    const bf16 *a1 = a.at + (second_a ? a.apart : 0), *b1 = b.at + (second_b ? b.apart : 0);
    float *below = c + PANEL * ldc;
    int64_t stride = ldc * (int64_t)sizeof(float);
    if (adds) {
        _tile_loadd(0, c, stride);
        _tile_loadd(1, c + PANEL, stride);
        _tile_loadd(2, below, stride);
        _tile_loadd(3, below + PANEL, stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t t = 0; t < count; t++) {
        _tile_loadd(6, b.at + t * TILE_ELEMENTS, BYTES);
        _tile_loadd(4, a.at + t * TILE_ELEMENTS, BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b1 + t * TILE_ELEMENTS, BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a1 + t * TILE_ELEMENTS, BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + PANEL, stride);
    _tile_stored(2, below, stride);
    _tile_stored(3, below + PANEL, stride);
}

static void copy_block(float *restrict to, int64_t ldt, const float *restrict from, int64_t ldf,
                       int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++)
            to[r * ldt + i] = from[r * ldf + i];
}

static void amx_multiply(float *c, int64_t ldc, struct tiles a, struct tiles b, int64_t rows,
                         int64_t cols, int64_t count, bool adds)
{
    enum { SIDE = 2 * PANEL };
    _Alignas(64) float edge[SIDE * SIDE] = { 0 };
    configure();
    for (int64_t v = 0; v < cols; v += SIDE)
        for (int64_t u = 0; u < rows; u += SIDE) {
            int64_t height = min_i64(SIDE, rows - u), width = min_i64(SIDE, cols - v);
            struct tiles left = { a.at + u / PANEL * a.apart, a.apart };
            struct tiles right = { b.at + v / PANEL * b.apart, b.apart };
            float *to = c + u * ldc + v;
            if (height == SIDE && width == SIDE) {
                multiply_on_amx(to, ldc, left, right, count, true, true, adds);
                continue;
            }
            if (adds) copy_block(edge, SIDE, to, ldc, height, width);
            multiply_on_amx(edge, SIDE, left, right, count, height > PANEL, width > PANEL, adds);
            copy_block(to, ldc, edge, SIDE, height, width);
        }
}

/* C = A B, or C += A B, for one panel of A and one of B. Only `rows` rows and the columns of the
 * mask are read and written. For each pair of k, the 16 columns of B are multiplied by the element
 * pairs of 16 rows of A, one after the other. */
static inline void multiply_by_dots(float *c, int64_t ldc, const bf16 *a, const bf16 *b,
                                    int64_t rows, __mmask16 mask, int64_t count, bool adds)
{
    __m512 sum[PANEL];
    for (int64_t r = 0; r < PANEL; r++)
        sum[r] = adds && r < rows ? _mm512_maskz_loadu_ps(mask, c + r * ldc) : _mm512_setzero_ps();
    for (int64_t t = 0; t < count; t++, a += TILE_ELEMENTS, b += TILE_ELEMENTS)
        for (int64_t p = 0; p < TILE_K / 2; p++) {
            __m512bh columns = (__m512bh)_mm512_load_si512(b + 2 * p * PANEL);
#pragma GCC unroll 16
            for (int64_t r = 0; r < PANEL; r++) {
                int32_t pair;
                memcpy(&pair, a + r * TILE_K + 2 * p, sizeof pair);
                sum[r] = _mm512_dpbf16_ps(sum[r], (__m512bh)_mm512_set1_epi32(pair), columns);
            }
        }
    for (int64_t r = 0; r < PANEL; r++)
        if (r < rows) _mm512_mask_storeu_ps(c + r * ldc, mask, sum[r]);
}

void multiply_tiles(float *c, int64_t ldc, struct tiles a, struct tiles b, int64_t rows,
                    int64_t cols, int64_t count, bool adds)
{
    if (amx_usable()) {
        amx_multiply(c, ldc, a, b, rows, cols, count, adds);
        return;
    }
    for (int64_t v = 0; v < cols; v += PANEL)
        for (int64_t u = 0; u < rows; u += PANEL)
            multiply_by_dots(c + u * ldc + v, ldc, a.at + u / PANEL * a.apart,
                             b.at + v / PANEL * b.apart, rows - u, first_of(cols - v), count, adds);
}

#else

bool amx_usable(void) { return false; }

void pack_tiles(struct tiles to, struct source from, bool wants_pairs, int64_t width, int64_t depth)
{
    (void)to, (void)from, (void)wants_pairs, (void)width, (void)depth;
    must(false);
}

void multiply_tiles(float *c, int64_t ldc, struct tiles a, struct tiles b, int64_t rows,
                    int64_t cols, int64_t count, bool adds)
{
    (void)c, (void)ldc, (void)a, (void)b, (void)rows, (void)cols, (void)count, (void)adds;
    must(false);
}

#endif
