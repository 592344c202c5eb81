#include "lib/tensorfile/ggml_quantize.h"

#include "lib/common/bf16.h"

#include <math.h>

enum { Q8_0_BYTES = 2 + GGML_BLOCK, Q4_0_BYTES = 2 + GGML_BLOCK / 2 };

bool ggml_is_written(enum ggml_type type)
{
    return type == GGML_F32 || type == GGML_F16 || type == GGML_BF16 || type == GGML_Q8_0 ||
           type == GGML_Q4_0;
}

/* Returns the factor that turns values into codes. A scale that is too small to have an inverse
 * becomes 0 in f16, so any codes give the same values. */
static float inverse_of(float scale)
{
    float inverse = scale != 0 ? 1 / scale : 0;
    return isfinite(inverse) ? inverse : 0;
}

/* Stores a block's scale. Returns false if it overflows. */
static bool put_scale(unsigned char *to, float scale)
{
    uint16_t half = f16_from_float(scale);
    memcpy(to, &half, sizeof half);
    return (half & 0x7c00) != 0x7c00;
}

static bool put_q8_0(const float *x, unsigned char *to)
{
    float max_magnitude = 0;
    for (int i = 0; i < GGML_BLOCK; i++)
        max_magnitude = fmaxf(max_magnitude, fabsf(x[i]));
    float scale = max_magnitude / 127, inverse = inverse_of(scale);
    for (int i = 0; i < GGML_BLOCK; i++)
        to[2 + i] = (unsigned char)(int8_t)roundf(x[i] * inverse);
    return put_scale(to, scale);
}

static unsigned char code_of(float x, float inverse)
{
    float code = x * inverse + 8.5f;
    return code < 15 ? (unsigned char)code : 15;
}

/* Chooses the scale so that the value farthest from 0 gets code 0, which stands for -8 times the
 * scale. */
static bool put_q4_0(const float *x, unsigned char *to)
{
    float max_magnitude = 0, extreme = 0;
    for (int i = 0; i < GGML_BLOCK; i++)
        if (fabsf(x[i]) > max_magnitude) {
            max_magnitude = fabsf(x[i]);
            extreme = x[i];
        }
    float scale = extreme / -8, inverse = inverse_of(scale);
    for (int i = 0; i < GGML_BLOCK / 2; i++)
        to[2 + i] =
            (unsigned char)(code_of(x[i], inverse) | code_of(x[i + GGML_BLOCK / 2], inverse) << 4);
    return put_scale(to, scale);
}

static bool put_halves(enum ggml_type type, const float *from, unsigned char *to, int64_t count)
{
    bool fits = true;
    for (int64_t i = 0; i < count; i++) {
        uint16_t half = type == GGML_F16 ? f16_from_float(from[i]) : bf16_from_float(from[i]);
        if (type == GGML_F16 && (half & 0x7c00) == 0x7c00) fits = false;
        memcpy(to + 2 * i, &half, sizeof half);
    }
    return fits;
}

bool ggml_narrow(enum ggml_type type, const float *from, void *to, int64_t count)
{
    unsigned char *at = to;
    bool fits = true;
    if (type == GGML_F32) {
        memcpy(to, from, (size_t)count * sizeof *from);
        return true;
    }
    if (type == GGML_F16 || type == GGML_BF16) return put_halves(type, from, at, count);
    for (int64_t i = 0; i < count; i += GGML_BLOCK) {
        bool is_8 = type == GGML_Q8_0;
        if (!(is_8 ? put_q8_0(from + i, at) : put_q4_0(from + i, at))) fits = false;
        at += is_8 ? Q8_0_BYTES : Q4_0_BYTES;
    }
    return fits;
}
