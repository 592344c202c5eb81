/* NF4 with double quantization, with the bits of bitsandbytes. Compiled without fused multiply-add,
 * because decoding absmax rounds twice by definition. */
#include "lib/common/nf4.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum {
    CODED_BLOCKS = 64, /* blocks that a task quantizes */
    ERROR_RUN = 1024,  /* elements that a task decodes together to compute their error */
};

struct code_call {
    uint8_t *codes;
    float *absmax;
    const void *x;
    enum dtype type;
    int64_t count, blocks;
};

struct scale_call {
    uint8_t *codes;
    float *absmax_scale, offset;
    const float *absmax;
    int64_t blocks;
};

/* Returns the NF4 code of x, which is the number of thresholds below x. If x is equal to a
 * threshold, the lower code is returned. */
static uint8_t nf4_code(float x)
{
    uint8_t code = 0;
    for (int i = 0; i < 15; i++)
        code = (uint8_t)(code + (x > nf4_threshold[i]));
    return code;
}

/* Returns the index of the value of the 8-bit map that is nearest to x. If two are equally near,
 * the even index is returned, as in bitsandbytes, whose binary search always ends at an even
 * index. */
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

/* Quantizes count values, two codes in a byte, the first in the high nibble. If count is odd,
 * x[count] must exist. */
static void code_pairs(uint8_t *to, const float *x, float inverse, int64_t count)
{
    int64_t i = 0;
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
    /* The thresholds form a binary search tree, so four steps find how many are below x. */
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
    const struct code_call *q = arg;
    float wide[CODED_BLOCKS * NF4_BLOCK + 1];
    int64_t first = task * CODED_BLOCKS * NF4_BLOCK;
    int64_t count = min_i64(CODED_BLOCKS * NF4_BLOCK, q->count - first);
    widen_range(wide, q->x, q->type, first, count);
    wide[count] = 0; /* An odd count is padded with 0, whose code is 7. */
    for (int64_t i = 0; i < count; i += NF4_BLOCK) {
        int64_t n = min_i64(NF4_BLOCK, count - i);
        float top = q->absmax[(first + i) / NF4_BLOCK] = largest_magnitude(wide + i, n);
        code_pairs(q->codes + (first + i) / 2, wide + i, 1 / (top > 1e-38f ? top : 1e-38f), n);
    }
}

void nf4_codes(struct device *dev, uint8_t *codes, float *absmax, const void *x, enum dtype type,
               int64_t count)
{
    must(type != DTYPE_NF4);
    struct code_call q = { codes, absmax, x, type, count, nf4_block_count(count) };
    pool_run(dev->pool, ceil_div(q.blocks, CODED_BLOCKS), code_blocks, &q);
}

void nf4_offset(struct device *dev, float *offset, const float *absmax, int64_t blocks)
{
    (void)dev;
    double sum = 0;
    for (int64_t i = 0; i < blocks; i++)
        sum += (double)absmax[i];
    *offset = blocks ? (float)(sum / (double)blocks) : 0;
}

static void code_absmax(uint8_t *codes, const float *absmax, float offset, float inverse,
                        int64_t count)
{
    int64_t i = 0;
#if defined(__AVX512F__) && defined(__AVX512VL__)
    /* absmax_code's binary search, for sixteen values at the same time. */
    for (; i + 16 <= count; i += 16) {
        __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(absmax + i), _mm512_set1_ps(offset)),
                                 _mm512_set1_ps(inverse));
        __m512i low = _mm512_setzero_si512(), high = _mm512_set1_epi32(255);
        for (int step = 0; step < 8; step++) {
            __m512i middle = _mm512_srli_epi32(_mm512_add_epi32(low, high), 1);
            __m512i next = _mm512_add_epi32(middle, _mm512_set1_epi32(1));
            __m512 border =
                _mm512_mul_ps(_mm512_add_ps(_mm512_i32gather_ps(middle, nf4_absmax_value, 4),
                                            _mm512_i32gather_ps(next, nf4_absmax_value, 4)),
                              _mm512_set1_ps(0.5f));
            __mmask16 is_odd = _mm512_test_epi32_mask(middle, _mm512_set1_epi32(1));
            __mmask16 above = _mm512_cmp_ps_mask(x, border, _CMP_GT_OQ) |
                              (is_odd & _mm512_cmp_ps_mask(x, border, _CMP_EQ_OQ));
            low = _mm512_mask_mov_epi32(low, above, next);
            high = _mm512_mask_mov_epi32(middle, above, high);
        }
        _mm_storeu_si128((void *)(codes + i), _mm512_cvtepi32_epi8(low));
    }
#endif
    for (; i < count; i++)
        codes[i] = absmax_code((absmax[i] - offset) * inverse);
}

static void scale_block(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct scale_call *q = arg;
    int64_t first = task * NF4_NESTED_BLOCK, n = min_i64(NF4_NESTED_BLOCK, q->blocks - first);
    float top = 0;
    for (int64_t i = first; i < first + n; i++) {
        float distance = fabsf(q->absmax[i] - q->offset);
        top = distance > top ? distance : top;
    }
    q->absmax_scale[task] = top;
    if (top > 0)
        code_absmax(q->codes + first, q->absmax + first, q->offset, 1 / top, n);
    else
        memset(q->codes + first, 0, (size_t)n);
}

void nf4_nest(struct device *dev, uint8_t *absmax, float *absmax_scale, const float *absmax_f32,
              float offset, int64_t blocks)
{
    struct scale_call q = { absmax, absmax_scale, offset, absmax_f32, blocks };
    pool_run(dev->pool, ceil_div(blocks, NF4_NESTED_BLOCK), scale_block, &q);
}

struct dequantize_call {
    float *x;
    const uint8_t *codes, *absmax;
    const float *absmax_scale;
    float offset;
    int64_t count;
};

/* Decodes a block: looks up the value of each code and multiplies it by absmax. */
static void decode_block(float *x, const uint8_t *codes, float absmax, int64_t count)
{
    int64_t i = 0;
#if defined(__AVX512F__) && defined(__AVX512VL__)
    const __m512 values = _mm512_loadu_ps(nf4_value), scale = _mm512_set1_ps(absmax);
    const __m128i nibble = _mm_set1_epi8(15);
    for (; i + 16 <= count; i += 16) {
        __m128i pairs = _mm_loadl_epi64((const void *)(codes + i / 2));
        __m128i high = _mm_and_si128(_mm_srli_epi16(pairs, 4), nibble);
        __m128i code = _mm_unpacklo_epi8(high, _mm_and_si128(pairs, nibble));
        __m512 value = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(code), values);
        _mm512_storeu_ps(x + i, _mm512_mul_ps(value, scale));
    }
#endif
    for (; i + 1 < count; i += 2) {
        x[i] = nf4_value[codes[i / 2] >> 4] * absmax;
        x[i + 1] = nf4_value[codes[i / 2] & 15] * absmax;
    }
    if (i < count) x[i] = nf4_value[codes[i / 2] >> 4] * absmax;
}

/* Decodes the elements first … first + count − 1 of the tensor. first is a multiple of 64. */
static void decode_range(float *x, const struct dequantize_call *d, int64_t first, int64_t count)
{
    for (int64_t i = first; i < first + count; i += NF4_BLOCK) {
        float absmax = d->absmax_scale[i / (d->absmax ? NF4_NESTED : NF4_BLOCK)];
        if (d->absmax) absmax = nf4_absmax_value[d->absmax[i / NF4_BLOCK]] * absmax + d->offset;
        decode_block(x + i - first, d->codes + i / 2, absmax,
                     min_i64(NF4_BLOCK, first + count - i));
    }
}

static void decode_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct dequantize_call *d = arg;
    int64_t first = task * NF4_NESTED;
    decode_range(d->x + first, d, first, min_i64(NF4_NESTED, d->count - first));
}

void nf4_decode(float *x, const struct linear *l, int64_t first, int64_t count)
{
    struct dequantize_call d = {
        x, l->weight, l->absmax, l->absmax_scale, l->offset, l->out * l->in
    };
    must(first % NF4_BLOCK == 0);
    decode_range(x, &d, first, count);
}

float nf4_absmax(const struct linear *l, int64_t block)
{
    if (!l->absmax) return l->absmax_scale[block];
    return nf4_absmax_value[l->absmax[block]] * l->absmax_scale[block / NF4_NESTED_BLOCK] +
           l->offset;
}

void nf4_dequantize(struct device *dev, float *x, const uint8_t *codes, const uint8_t *absmax,
                    const float *absmax_scale, float offset, int64_t count)
{
    struct dequantize_call d = { x, codes, absmax, absmax_scale, offset, count };
    pool_run(dev->pool, nf4_nested_block_count(count), decode_piece, &d);
}

/* ---- the error of quantizing ---- */

struct error_call {
    struct dequantize_call d;
    const void *x;
    enum dtype type;
    int64_t size; /* elements that a task processes */
    struct nf4_error part[SUM_PIECES];
};

static void error_piece(void *arg, int64_t task, int worker)
{
    (void)worker;
    struct error_call *j = arg;
    struct nf4_error e = { 0 };
    int64_t end = min_i64((task + 1) * j->size, j->d.count);
    for (int64_t first = task * j->size; first < end; first += ERROR_RUN) {
        float x[ERROR_RUN] = { 0 }, back[ERROR_RUN] = { 0 }, max_error = 0;
        double squares = 0, error_squares = 0;
        int64_t n = min_i64(ERROR_RUN, end - first);
        widen_range(x, j->x, j->type, first, n);
        decode_range(back, &j->d, first, n);
#pragma omp simd reduction(+ : squares, error_squares) reduction(max : max_error)
        for (int64_t i = 0; i < n; i++) {
            float d = fabsf(x[i] - back[i]);
            squares += (double)x[i] * (double)x[i];
            error_squares += (double)d * (double)d;
            max_error = d > max_error ? d : max_error;
        }
        e.squares += squares;
        e.error_squares += error_squares;
        e.max_error = (double)max_error > e.max_error ? (double)max_error : e.max_error;
    }
    j->part[task] = e;
}

void nf4_error(struct device *dev, struct nf4_error *error, const void *x, enum dtype type,
               const uint8_t *codes, const uint8_t *absmax, const float *absmax_scale, float offset,
               int64_t count)
{
    must(type != DTYPE_NF4);
    struct error_call j = { .d = { NULL, codes, absmax, absmax_scale, offset, count },
                            .x = x,
                            .type = type,
                            .size = ceil_div(ceil_div(count, ERROR_RUN), SUM_PIECES) * ERROR_RUN };
    int64_t tasks = count ? ceil_div(count, j.size) : 0;
    *error = (struct nf4_error){ 0 };
    pool_run(dev->pool, tasks, error_piece, &j);
    for (int64_t i = 0; i < tasks; i++) {
        error->squares += j.part[i].squares;
        error->error_squares += j.part[i].error_squares;
        error->max_error =
            j.part[i].max_error > error->max_error ? j.part[i].max_error : error->max_error;
    }
}
