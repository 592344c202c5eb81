/* bf16.h - conversions between f32 and the two 16-bit floating types, bf16 and f16.
 *
 * Conversion from f32 rounds to nearest, ties to even (IEEE 754). NaN stays NaN; a number too large
 * for f16 becomes infinity.
 */
#ifndef LONGQLORA_BF16_H
#define LONGQLORA_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float bf16_to_float(bf16 x) { return bits_float((uint32_t)x << 16); }

static inline bf16 bf16_from_float(float x)
{
    uint32_t bits = float_bits(x);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uint32_t nan = (bits >> 16) | 0x40;
    return (bf16)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

static inline float f16_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00) return bits_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    /* Multiplying by 2^112 moves the exponent from f16's bias to f32's, also for subnormals. */
    float value = bits_float(magnitude << 13) * 0x1p112f;
    return bits_float(sign | float_bits(value));
}

static inline uint16_t f16_from_float(float x)
{
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        /* The result is subnormal. Adding 0.5 makes the FPU round at f16's last place, 2^-24. */
        float shifted = bits_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_bits(shifted) - 0x3f000000));
    }
    uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
    return (uint16_t)(sign | rounded >> 13);
}

#endif
