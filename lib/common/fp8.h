/* fp8.h - products of frozen weights in 8 bits (the recipe's key fp8), once for all devices.
 *
 * The numbers are e4m3 of P. Micikevicius et al., "FP8 Formats for Deep Learning", 2022
 * (arXiv 2209.05433): a sign, 4 bits of exponent with bias 7, 3 bits of mantissa. There is no
 * infinity. The largest number is 448, the smallest normal one 2^-6, the smallest one 2^-9. 0x7f
 * and 0xff are NaN.
 *
 * A group of linear layers (kernels.h) with the inputs x [T, in] has the weights W [outs, in], one
 * linear layer below the other, and the gradients dy [T, outs] of its outputs, side by side:
 *
 *     y  = diag(s(x))  (q(x)  · q(W)ᵀ) diag(s(W))         q(x)  = e4m3(x[t, i] / s(x)[t])
 *                                                          q(W)  = e4m3(W[o, i] / s(W)[o])
 *     dx = diag(s(dy)) (q(dy) · q'(W)) diag(s'(W))        q(dy) = e4m3(dy[t, o] / s(dy)[t])
 *                                                          q'(W) = e4m3(W[o, i] / s'(W)[i])
 *
 * Every matrix has one scale for each of the numbers that is no index of the sum, so that the
 * scales are factors of the sum: s(x) and s(dy) for each row, s(W) for each output, s'(W) for each
 * input. A scale is fp8_scale of the largest magnitude among the numbers that it divides. Weights
 * are decoded to f32 before they are divided. Quotients are rounded to f32, and then to e4m3: to
 * nearest, ties to even, and at most 448. Sums are f32. A GPU rounds the sum to the type of its
 * activations before it multiplies it by the scales; the CPU does not. Adapters, biases, residuals
 * and all gradients of adapters are computed as without fp8.
 *
 * CUDA defines FP8_FUNCTION to compile these functions for the GPU.
 */
#ifndef LONGQLORA_FP8_H
#define LONGQLORA_FP8_H

#include <stdint.h>
#include <string.h>

#ifndef FP8_FUNCTION
#define FP8_FUNCTION static inline
#endif

#define FP8_MAX 448.0f
#define FP8_MIN_NORMAL 0x1p-6f

/* A GPU multiplies matrices in fp8 only if their widths are multiples of this number. */
enum { FP8_MULTIPLE = 16 };

FP8_FUNCTION uint32_t fp8_bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FP8_FUNCTION float fp8_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Returns |x| as bits. As integers these have the order of the magnitudes, with infinity and NaN
 * above all numbers. So a row with such a value gets a scale that is not finite, and the result is
 * NaN. */
FP8_FUNCTION uint32_t fp8_magnitude(float x) { return fp8_bits_of(x) & 0x7fffffff; }

/* Returns the scale of numbers whose largest magnitude is `largest`. Zeros, and numbers so small
 * that the scale would not be a normal f32, have the scale 1. */
FP8_FUNCTION float fp8_scale(float largest)
{
    float scale = largest / FP8_MAX;
    return scale < 0x1p-126f ? 1 : scale;
}

/* Returns |x|, but at most 448. NaN stays NaN. */
FP8_FUNCTION float fp8_limited(float x)
{
    float magnitude = fp8_of_bits(fp8_magnitude(x));
    return magnitude > FP8_MAX ? FP8_MAX : magnitude;
}

/* Returns the bits of a normal e4m3 number as those of an f32: 3 bits of mantissa are left. */
FP8_FUNCTION uint32_t fp8_rounded_bits(float magnitude)
{
    uint32_t bits = fp8_bits_of(magnitude);
    return (bits + 0x7ffff + (bits >> 20 & 1)) & 0xfff00000;
}

/* Returns the e4m3 number nearest to x. Adding 2^14 makes the FPU round at the last place of a
 * subnormal e4m3 number, which is 2^-9. */
FP8_FUNCTION float fp8_round(float x)
{
    float magnitude = fp8_limited(x), small = (magnitude + 0x1p14f) - 0x1p14f;
    float rounded = fp8_of_bits(fp8_rounded_bits(magnitude));
    rounded = magnitude < FP8_MIN_NORMAL ? small : rounded;
    rounded = magnitude == magnitude ? rounded : magnitude;
    return fp8_of_bits(fp8_bits_of(rounded) | (fp8_bits_of(x) & 0x80000000));
}

/* Returns the same number as a byte. */
FP8_FUNCTION uint8_t fp8_from_float(float x)
{
    float magnitude = fp8_limited(x);
    uint32_t small = fp8_bits_of(magnitude + 0x1p14f) - fp8_bits_of(0x1p14f);
    uint32_t code = (fp8_rounded_bits(magnitude) >> 20) - (120 << 3);
    code = magnitude < FP8_MIN_NORMAL ? small : code;
    code = magnitude == magnitude ? code : 0x7f;
    return (uint8_t)(code | (fp8_bits_of(x) >> 24 & 0x80));
}

FP8_FUNCTION float fp8_to_float(uint8_t code)
{
    uint32_t exponent = code >> 3 & 15, mantissa = code & 7, sign = (uint32_t)(code & 0x80) << 24;
    float magnitude =
        exponent ? fp8_of_bits((exponent + 120) << 23 | mantissa << 20) : (float)mantissa * 0x1p-9f;
    if ((code & 0x7f) == 0x7f) magnitude = fp8_of_bits(0x7fc00000);
    return fp8_of_bits(fp8_bits_of(magnitude) | sign);
}

#endif
