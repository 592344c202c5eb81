/* NF4 with double quantization, as bitsandbytes has it. Compiled without
 * contraction: the two roundings of absmax are part of the format. */
#include "../nf4.h"
#include "cpu.h"

#include <math.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

struct quantizer {
    uint8_t *codes;
    float *absmax;
    const float *x;
    int64_t count, blocks;
};

struct nesting {
    uint8_t *codes;
    float *nested, offset;
    const float *absmax;
    int64_t blocks;
};

/* The number of thresholds below x: a tie takes the lower code. */
static uint8_t nf4_code(float x)
{
    uint8_t code = 0;
    for (int i = 0; i < 15; i++)
        code = (uint8_t)(code + (x > nf4_threshold[i]));
    return code;
}

/* The nearest of the map's values. A tie goes to the even index, as it does in the
 * reference's search by halving, whose last pivot is always even. */
static uint8_t absmax_code(float x)
{
    int low = 0, high = 255;
    while (low < high) {
        int middle = (low + high) / 2;
        float border = (nf4_absmax_value[middle] + nf4_absmax_value[middle + 1]) * 0.5f;
        if (middle % 2 ? x >= border : x > border)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint8_t)low;
}

/* The largest magnitude by its bits, so that infinity and NaN stay on top. */
static float largest(const float *x, int64_t count)
{
    uint32_t top = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = float_bits(x[i]) & 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return bits_float(top);
}

/* Two codes a byte, the first in the high nibble; count is even, or the padding is there. */
static void code_pairs(uint8_t *to, const float *x, float inverse, int64_t count)
{
    int64_t i = 0;
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
    /* The thresholds are a search tree: four steps down find how many are below x. */
    const __m512 tree = _mm512_maskz_loadu_ps(0x7fff, nf4_threshold);
    const __m512 scale = _mm512_set1_ps(inverse), root = _mm512_set1_ps(nf4_threshold[7]);
    for (; i + 16 <= count; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), scale);
        __m512i code = _mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(v, root, _CMP_GT_OQ), 8);
        for (int step = 4; step; step /= 2) {
            __m512i at = _mm512_add_epi32(code, _mm512_set1_epi32(step - 1));
            __mmask16 above = _mm512_cmp_ps_mask(v, _mm512_permutexvar_ps(at, tree), _CMP_GT_OQ);
            code = _mm512_mask_add_epi32(code, above, code, _mm512_set1_epi32(step));
        }
        __m128i bytes = _mm512_cvtepi32_epi8(code);
        __m128i pairs = _mm_or_si128(_mm_slli_epi16(bytes, 4), _mm_srli_epi16(bytes, 8));
        _mm_storel_epi64((void *)(to + i / 2), _mm_cvtepi16_epi8(pairs));
    }
#endif
    for (; i < count; i += 2)
        to[i / 2] = (uint8_t)(nf4_code(x[i] * inverse) << 4 | nf4_code(x[i + 1] * inverse));
}

static void code_blocks(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct quantizer *q = arg;
    for (int64_t b = task * 64; b < least((task + 1) * 64, q->blocks); b++) {
        int64_t first = b * NF4_BLOCK, n = least(NF4_BLOCK, q->count - first);
        float padded[NF4_BLOCK] = { 0 }; /* a zero is code 7 */
        const float *x = q->x + first;
        if (n % 2) x = memcpy(padded, x, (size_t)n * sizeof *x);
        float top = q->absmax[b] = largest(x, n);
        code_pairs(q->codes + first / 2, x, 1 / (top > 1e-38f ? top : 1e-38f), n);
    }
}

void nf4_codes(struct device *dev, uint8_t *codes, float *absmax, const float *x, int64_t count)
{
    struct quantizer q = { codes, absmax, x, count, pieces(count, NF4_BLOCK) };
    pool_run(dev->pool, pieces(q.blocks, 64), code_blocks, &q);
}

void nf4_offset(struct device *dev, float *offset, const float *absmax, int64_t blocks)
{
    (void)dev;
    double sum = 0;
    for (int64_t i = 0; i < blocks; i++)
        sum += (double)absmax[i];
    *offset = blocks ? (float)(sum / (double)blocks) : 0;
}

static void nest_block(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct nesting *q = arg;
    int64_t first = task * NF4_NESTED_BLOCK, end = least(first + NF4_NESTED_BLOCK, q->blocks);
    float top = 0;
    for (int64_t i = first; i < end; i++) {
        float distance = fabsf(q->absmax[i] - q->offset);
        top = distance > top ? distance : top;
    }
    q->nested[task] = top;
    float inverse = 1 / top;
    for (int64_t i = first; i < end; i++)
        q->codes[i] = top > 0 ? absmax_code((q->absmax[i] - q->offset) * inverse) : 0;
}

void nf4_nest(struct device *dev, uint8_t *absmax_codes, float *nested, const float *absmax,
              float offset, int64_t blocks)
{
    struct nesting q = { absmax_codes, nested, offset, absmax, blocks };
    pool_run(dev->pool, pieces(blocks, NF4_NESTED_BLOCK), nest_block, &q);
}

struct dequantizer {
    float *x;
    const uint8_t *codes, *absmax;
    const float *nested;
    float offset;
    int64_t count;
    float pair[256][2]; /* both values of a byte of codes */
};

static void decode_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct dequantizer *d = arg;
    int64_t first = task * NF4_NESTED, end = least(first + NF4_NESTED, d->count);
    for (int64_t i = first; i < end; i += NF4_BLOCK) {
        float absmax =
            d->absmax ? nf4_absmax_value[d->absmax[i / NF4_BLOCK]] * d->nested[task] + d->offset
                      : d->nested[i / NF4_BLOCK];
        const uint8_t *codes = d->codes + i / 2;
        float *x = d->x + i;
        int64_t n = least(NF4_BLOCK, end - i);
        for (int64_t j = 0; j + 1 < n; j += 2) {
            x[j] = d->pair[codes[j / 2]][0] * absmax;
            x[j + 1] = d->pair[codes[j / 2]][1] * absmax;
        }
        if (n % 2) x[n - 1] = d->pair[codes[n / 2]][0] * absmax;
    }
}

void nf4_scales(float *scales, const struct linear *l, int64_t first, int64_t count)
{
    if (!l->absmax) {
        memcpy(scales, l->nested + first, (size_t)count * sizeof *scales);
        return;
    }
    const uint8_t *code = l->absmax + first;
    for (int64_t i = 0; i < count;) {
        /* Up to the end of the nested block. */
        int64_t end = least(count, i + NF4_NESTED_BLOCK - (first + i) % NF4_NESTED_BLOCK);
        float nested = l->nested[(first + i) / NF4_NESTED_BLOCK];
#if defined(__AVX512F__)
        for (; i + 16 <= end; i += 16) {
            __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(code + i)));
            __m512 map = _mm512_i32gather_ps(index, nf4_absmax_value, 4);
            __m512 product = _mm512_mul_ps(map, _mm512_set1_ps(nested));
            _mm512_storeu_ps(scales + i, _mm512_add_ps(product, _mm512_set1_ps(l->offset)));
        }
#endif
        for (; i < end; i++)
            scales[i] = nf4_absmax_value[code[i]] * nested + l->offset;
    }
}

void nf4_dequantize(struct device *dev, float *x, const uint8_t *codes, const uint8_t *absmax,
                    const float *nested, float offset, int64_t count)
{
    struct dequantizer d = {
        .x = x, .codes = codes, .absmax = absmax, .nested = nested, .offset = offset, .count = count
    };
    for (int i = 0; i < 256; i++) {
        d.pair[i][0] = nf4_value[i >> 4];
        d.pair[i][1] = nf4_value[i & 15];
    }
    pool_run(dev->pool, pieces(count, NF4_NESTED), decode_piece, &d);
}
