/* Converts flat arrays of f32, f16 or bf16 to f32, and f32 (or a sum a + scale · b) to these types.
 * Memory bandwidth limits the speed. */
#include "kernels/cuda/device.cuh"

KERNEL(THREADS, 1)
widen_kernel(float *out, const void *in, enum dtype type, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    if (type == DTYPE_F32)
        out[i] = ((const float *)in)[i];
    else if (type == DTYPE_BF16)
        out[i] = bits_as_float((uint32_t)((const uint16_t *)in)[i] << 16);
    else
        out[i] = half_as_float(((const uint16_t *)in)[i]);
}

void widen(struct device *dev, float *out, const void *in, enum dtype type, int64_t count)
{
    must(type != DTYPE_NF4);
    if (!count) return;
    LAUNCH(widen_kernel, dim3((unsigned)ceil_div(count, THREADS)), dim3(THREADS), 0, dev->stream,
           out, in, type, count);
    launched(dev, __func__);
}

/* Rounds to nearest, ties to even. NaN stays NaN (lib/common/bf16.h). */
DEVICE uint16_t bf16_bits(float x)
{
    uint32_t bits = float_as_bits(x), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

DEVICE uint16_t half_bits(float x)
{
    uint32_t bits = float_as_bits(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    /* For a subnormal result, adding 0.5 rounds at the last place of f16, 2^-24. */
    if (magnitude < 0x38800000)
        return (uint16_t)(sign |
                          (float_as_bits(add_rn(bits_as_float(magnitude), 0.5f)) - 0x3f000000));
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
}

KERNEL(THREADS, 1)
narrow_sum_kernel(void *out, enum dtype type, const float *a, float scale, const float *b,
                  int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    float sum = b ? add_rn(a[i], mul_rn(scale, b[i])) : a[i];
    if (type == DTYPE_F32)
        ((float *)out)[i] = sum;
    else
        ((uint16_t *)out)[i] = type == DTYPE_BF16 ? bf16_bits(sum) : half_bits(sum);
}

void narrow_sum(struct device *dev, void *out, enum dtype type, const float *a, float scale,
                const float *b, int64_t count)
{
    must(type != DTYPE_NF4);
    if (!count) return;
    LAUNCH(narrow_sum_kernel, dim3((unsigned)ceil_div(count, THREADS)), dim3(THREADS), 0,
           dev->stream, out, type, a, scale, b, count);
    launched(dev, __func__);
}
