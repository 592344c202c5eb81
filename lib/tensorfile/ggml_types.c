#include "lib/tensorfile/ggml_types.h"

#include "lib/common/bf16.h"
#include "lib/common/fail.h"

/* Elements of a block of the older types, elements of a super-block of the K types, and one more
 * than the highest number of a type. */
enum { BLOCK = 32, SUPER = 256, TYPES = 43 };

static const struct ggml_format formats[TYPES] = {
    [GGML_F32] = { "f32", 1, 4 },
    [GGML_F16] = { "f16", 1, 2 },
    [GGML_Q4_0] = { "q4_0", BLOCK, 2 + 16 },
    [GGML_Q4_1] = { "q4_1", BLOCK, 4 + 16 },
    [GGML_Q5_0] = { "q5_0", BLOCK, 2 + 4 + 16 },
    [GGML_Q5_1] = { "q5_1", BLOCK, 4 + 4 + 16 },
    [GGML_Q8_0] = { "q8_0", BLOCK, 2 + 32 },
    [GGML_Q4_K] = { "q4_K", SUPER, 4 + 12 + 128 },
    [GGML_Q5_K] = { "q5_K", SUPER, 4 + 12 + 32 + 128 },
    [GGML_Q6_K] = { "q6_K", SUPER, 128 + 64 + 16 + 2 },
    [GGML_BF16] = { "bf16", 1, 2 },
    /* The name alone is known, for messages. */
    [9] = { "q8_1", 0, 0 },
    [10] = { "q2_K", 0, 0 },
    [11] = { "q3_K", 0, 0 },
    [15] = { "q8_K", 0, 0 },
    [16] = { "iq2_xxs", 0, 0 },
    [17] = { "iq2_xs", 0, 0 },
    [18] = { "iq3_xxs", 0, 0 },
    [19] = { "iq1_s", 0, 0 },
    [20] = { "iq4_nl", 0, 0 },
    [21] = { "iq3_s", 0, 0 },
    [22] = { "iq2_s", 0, 0 },
    [23] = { "iq4_xs", 0, 0 },
    [24] = { "i8", 0, 0 },
    [25] = { "i16", 0, 0 },
    [26] = { "i32", 0, 0 },
    [27] = { "i64", 0, 0 },
    [28] = { "f64", 0, 0 },
    [29] = { "iq1_m", 0, 0 },
    [34] = { "tq1_0", 0, 0 },
    [35] = { "tq2_0", 0, 0 },
    [39] = { "mxfp4", 0, 0 },
    [40] = { "nvfp4", 0, 0 },
    [41] = { "q1_0", 0, 0 },
    [42] = { "q2_0", 0, 0 },
};

const struct ggml_format *ggml_format(uint32_t type)
{
    return type < TYPES && formats[type].name ? &formats[type] : NULL;
}

bool ggml_is_quantized(enum ggml_type type) { return formats[type].elements > 1; }

size_t ggml_row_bytes(enum ggml_type type, int64_t elements)
{
    return (size_t)elements / formats[type].elements * formats[type].bytes;
}

/* ---- blocks of 32 ---- */

static float half_at(const uint8_t *at)
{
    return f16_to_float((uint16_t)(at[0] | (unsigned)at[1] << 8));
}

/* Layout: the scale d, then 16 bytes. Byte j has element j in its low nibble, and element j + 16 in
 * its high nibble. */
static void widen_q4_0(const uint8_t *restrict x, float *restrict y)
{
    float d = half_at(x);
    for (int j = 0; j < BLOCK / 2; j++)
        y[j] = (float)((x[2 + j] & 15) - 8) * d;
    for (int j = 0; j < BLOCK / 2; j++)
        y[j + BLOCK / 2] = (float)((x[2 + j] >> 4) - 8) * d;
}

/* Layout: the scale d and the minimum m, then 16 bytes as in q4_0. */
static void widen_q4_1(const uint8_t *restrict x, float *restrict y)
{
    float d = half_at(x), m = half_at(x + 2);
    for (int j = 0; j < BLOCK / 2; j++)
        y[j] = (float)(x[4 + j] & 15) * d + m;
    for (int j = 0; j < BLOCK / 2; j++)
        y[j + BLOCK / 2] = (float)(x[4 + j] >> 4) * d + m;
}

/* Combines 16 bytes of nibbles and 4 bytes of fifth bits into 32 numbers of 5 bits. The fifth bit
 * of element i is bit i % 8 of byte i / 8. */
static void join_fifth(const uint8_t *restrict halves, const uint8_t *restrict bits,
                       uint8_t *restrict to)
{
    for (int b = 0; b < BLOCK / 8; b++) {
        /* Byte i of `spread` keeps only bit i of bits[b]. If that bit is set, adding 0x7f sets bit
         * 7 of the byte, and the shift turns bit 7 into 16, the value of a fifth bit. */
        uint64_t spread = bits[b] * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        spread = (spread + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 3 & UINT64_C(0x1010101010101010);
        memcpy(to + 8 * b, &spread, sizeof spread);
    }
    for (int j = 0; j < BLOCK / 2; j++) {
        to[j] |= halves[j] & 15;
        to[j + BLOCK / 2] |= halves[j] >> 4;
    }
}

static void widen_q5_0(const uint8_t *restrict x, float *restrict y)
{
    uint8_t q[BLOCK];
    float d = half_at(x);
    join_fifth(x + 6, x + 2, q);
    for (int j = 0; j < BLOCK; j++)
        y[j] = (float)(q[j] - 16) * d;
}

static void widen_q5_1(const uint8_t *restrict x, float *restrict y)
{
    uint8_t q[BLOCK];
    float d = half_at(x), m = half_at(x + 2);
    join_fifth(x + 8, x + 4, q);
    for (int j = 0; j < BLOCK; j++)
        y[j] = (float)q[j] * d + m;
}

static void widen_q8_0(const uint8_t *restrict x, float *restrict y)
{
    float d = half_at(x);
    for (int j = 0; j < BLOCK; j++)
        y[j] = (float)(int8_t)x[2 + j] * d;
}

/* ---- blocks of 256 ---- */

/* Unpacks scale j and minimum j from 12 bytes, which hold eight scales and eight minimums of 6 bits
 * each. */
static void unpack_scale(const uint8_t *q, int j, float *scale, float *min)
{
    *scale = (float)(j < 4 ? q[j] & 63 : (q[j + 4] & 15) | (q[j - 4] >> 6) << 4);
    *min = (float)(j < 4 ? q[j + 4] & 63 : q[j + 4] >> 4 | (q[j] >> 6) << 4);
}

/* Layout: d and dmin, 12 bytes of scales and minimums, then 32 bytes for each 64 elements: the
 * first 32 elements in the low nibbles, the others in the high nibbles. */
static void widen_q4_K(const uint8_t *restrict x, float *restrict y)
{
    float d = half_at(x), dmin = half_at(x + 2), scale, min;
    const uint8_t *q = x + 16;
    for (int j = 0; j < 8; j++, y += BLOCK) {
        unpack_scale(x + 4, j, &scale, &min);
        scale *= d, min *= dmin;
        int shift = j % 2 * 4;
        for (int l = 0; l < BLOCK; l++)
            y[l] = scale * (float)(q[l] >> shift & 15) - min;
        q += j % 2 ? BLOCK : 0;
    }
}

/* Layout: as q4_K, with 32 bytes of fifth bits after the scales. Bit j of byte l is the fifth bit
 * of element 32 j + l. */
static void widen_q5_K(const uint8_t *restrict x, float *restrict y)
{
    float d = half_at(x), dmin = half_at(x + 2), scale, min;
    const uint8_t *high = x + 16, *q = x + 48;
    for (int j = 0; j < 8; j++, y += BLOCK) {
        unpack_scale(x + 4, j, &scale, &min);
        scale *= d, min *= dmin;
        int shift = j % 2 * 4;
        for (int l = 0; l < BLOCK; l++) {
            int value = (q[l] >> shift & 15) | (high[l] >> j & 1) << 4;
            y[l] = scale * (float)value - min;
        }
        q += j % 2 ? BLOCK : 0;
    }
}

/* Layout: 128 bytes with the low 4 bits of the elements, 64 bytes with their high 2 bits, 16 scales
 * of 8 bits, and d. Each half of a block has 128 elements, which are stored in groups of 32. */
static void widen_q6_K(const uint8_t *restrict x, float *restrict y)
{
    float d = half_at(x + 208);
    for (int part = 0; part < 8; part++, y += BLOCK) {
        const uint8_t *low = x + 64 * (part / 4) + part % 2 * 32;
        const uint8_t *high = x + 128 + 32 * (part / 4);
        int shift = part % 4 < 2 ? 0 : 4, high_shift = 2 * (part % 4);
        for (int i = 0; i < BLOCK; i += 16) {
            float scale = d * (float)(int8_t)x[192 + 2 * part + i / 16];
            for (int l = i; l < i + 16; l++) {
                int bits = (low[l] >> shift & 15) | (high[l] >> high_shift & 3) << 4;
                y[l] = scale * (float)(bits - 32);
            }
        }
    }
}

static void widen_halves(enum ggml_type type, const uint8_t *from, float *to, int64_t count)
{
    for (int64_t i = 0; i < count; i++, from += 2)
        to[i] = type == GGML_F16 ? half_at(from)
                                 : bf16_to_float((bf16)(from[0] | (unsigned)from[1] << 8));
}

#define EACH_BLOCK(widen, elements)                                                                \
    for (int64_t i = 0; i < count; i += (elements), at += bytes)                                   \
    widen(at, to + i)

void ggml_widen(enum ggml_type type, const void *from, float *to, int64_t count)
{
    const uint8_t *at = from;
    size_t bytes = formats[type].bytes;
    switch (type) {
    case GGML_F32:
        memcpy(to, from, (size_t)count * sizeof *to);
        return;
    case GGML_F16:
    case GGML_BF16:
        widen_halves(type, at, to, count);
        return;
    case GGML_Q4_0:
        EACH_BLOCK(widen_q4_0, BLOCK);
        return;
    case GGML_Q4_1:
        EACH_BLOCK(widen_q4_1, BLOCK);
        return;
    case GGML_Q5_0:
        EACH_BLOCK(widen_q5_0, BLOCK);
        return;
    case GGML_Q5_1:
        EACH_BLOCK(widen_q5_1, BLOCK);
        return;
    case GGML_Q8_0:
        EACH_BLOCK(widen_q8_0, BLOCK);
        return;
    case GGML_Q4_K:
        EACH_BLOCK(widen_q4_K, SUPER);
        return;
    case GGML_Q5_K:
        EACH_BLOCK(widen_q5_K, SUPER);
        return;
    case GGML_Q6_K:
        EACH_BLOCK(widen_q6_K, SUPER);
        return;
    }
    must(!"a type that is read here");
}
