/* intrinsics.cuh - everything in which nvcc and the emulation on the CPU (tests/cuda-emulation)
 * differ: launches, shared memory, warps, tensor cores, asynchronous copies, rounding. The kernels
 * use nothing else that is special to either.
 *
 * `elem` is the type of an activation. It is bf16, or f16 with -DELEM_F16, for GPUs without bf16
 * (compute capability 7.0 and 7.5). With -DELEM_F32 it is f32: tests use this to check all kernels
 * but those on tensor cores with the tolerances of f32. Where an architecture lacks an instruction,
 * the function uses others.
 */
#ifndef LONGQLORA_INTRINSICS_CUH
#define LONGQLORA_INTRINSICS_CUH

#include <cstdint>
/* For the emulation, tests/tests.mk includes another header first (-include). */
#ifndef EMULATE
#include <cuda_runtime.h>

#define LAUNCH(kernel, grid, block, shared, stream, ...)                                           \
    kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define SHARED_DYNAMIC(name) extern __shared__ __align__(1024) unsigned char name[]
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define KERNEL(threads, blocks) static __global__ void __launch_bounds__(threads, blocks)
#define block_sync() __syncthreads()

DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE double shuffle_xor(double x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float mul_rn(float a, float b) { return __fmul_rn(a, b); }
DEVICE float add_rn(float a, float b) { return __fadd_rn(a, b); }
DEVICE uint32_t mul_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }
/* Returns the value of x in another lane of the warp. */
DEVICE uint32_t shuffle(uint32_t x, int lane) { return __shfl_sync(~0u, x, lane); }
/* The low half of the result is all ones if the highest bit of byte `byte` of `low` is set, else
 * zeros. The high half is the same for `high`. */
DEVICE uint32_t fill_halves(uint32_t low, uint32_t high, int byte)
{
    uint32_t filled;
    asm("prmt.b32 %0, %1, %2, %3;"
        : "=r"(filled)
        : "r"(low), "r"(high), "r"(0xcc88 + 0x1111 * byte));
    return filled;
}
/* Returns (x >> 8 · byte) & 255 with one instruction. Compilers would use two. */
DEVICE uint32_t byte_of(uint32_t x, int byte)
{
    uint32_t alone;
    asm("prmt.b32 %0, %1, 0, %2;" : "=r"(alone) : "r"(x), "r"(0x4440 + byte));
    return alone;
}
DEVICE void atomic_min(unsigned long long *at, unsigned long long value) { atomicMin(at, value); }
DEVICE void atomic_max(uint32_t *at, uint32_t value) { atomicMax(at, value); }
DEVICE uint32_t float_as_bits(float x) { return __float_as_uint(x); }
DEVICE float bits_as_float(uint32_t x) { return __uint_as_float(x); }

#ifdef ELEM_F16
/* Rounds to two f16 in a word, the first in the low half: to nearest, ties to even. */
DEVICE uint32_t pack2(float first, float second)
{
    uint32_t word;
    asm("{.reg .b16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {a, b};}"
        : "=r"(word)
        : "f"(first), "f"(second));
    return word;
}
#else
/* Rounds to two bf16 in a word, the first in the low half: to nearest, ties to even. */
DEVICE uint32_t pack2(float first, float second)
{
    uint32_t word;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
#else
    uint32_t a = __float_as_uint(first), b = __float_as_uint(second);
    a = (a & 0x7fffffff) > 0x7f800000 ? 0x7fff0000 : a + 0x7fff + (a >> 16 & 1);
    b = (b & 0x7fffffff) > 0x7f800000 ? 0x7fff0000 : b + 0x7fff + (b >> 16 & 1);
    word = a >> 16 | (b & 0xffff0000);
#endif
    return word;
}
#endif
DEVICE float half_as_float(uint16_t half)
{
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
    return x;
}

DEVICE uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
/* Returns the word of shared memory at this address. The address is a number, so that the compiler
 * does not compute it anew for each access. */
DEVICE uint32_t word_at(uint32_t address)
{
    uint32_t word;
    asm("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
    return word;
}
/* Loads 16 bytes of global memory; returns zeros if `valid` is false. */
DEVICE uint4 load16(const void *from, bool valid)
{
    uint4 x;
    asm("{.reg .pred p; setp.ne.u32 p, %5, 0;"
        " mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0;"
        " @p ld.global.v4.b32 {%0, %1, %2, %3}, [%4];}"
        : "=&r"(x.x), "=&r"(x.y), "=&r"(x.z), "=&r"(x.w)
        : "l"(from), "r"((uint32_t)valid)
        : "memory");
    return x;
}

/* Loads four 8 × 8 matrices of 16-bit elements. Lanes 8 i … 8 i + 7 give the addresses of the rows
 * of matrix i. */
DEVICE void ldmatrix4(uint32_t r[4], const void *row)
{
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}
DEVICE void ldmatrix4_trans(uint32_t r[4], const void *row)
{
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}
/* Computes c [16, 8] += a [16, 16] b [16, 8], with f32 sums. */
#ifdef ELEM_F16
#define MMA_TYPES "f32.f16.f16.f32"
#else
#define MMA_TYPES "f32.bf16.bf16.f32"
#endif
DEVICE void mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col." MMA_TYPES
                 " {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#elif defined(ELEM_F16) && __CUDA_ARCH__ >= 750
    /* Two instructions, for eight terms each. */
    for (int half = 0; half < 2; half++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col." MMA_TYPES
                     " {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(half ? b1 : b0));
#endif
}
/* Copies 16 bytes from global to shared memory asynchronously. If `valid` is false, it writes
 * zeros. The bytes have arrived after copy_wait. */
DEVICE void copy16_async(void *to, const void *from, bool valid)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
#else
    *(uint4 *)to = valid ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}
/* Copies 8 bytes like copy16_async. */
DEVICE void copy8_async(void *to, const void *from, bool valid)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 8 : 0)
                 : "memory");
#else
    *(uint2 *)to = valid ? *(const uint2 *)from : make_uint2(0, 0);
#endif
}
/* Copies 4 bytes like copy16_async. */
DEVICE void copy4_async(void *to, const void *from, bool valid)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 4 : 0)
                 : "memory");
#else
    *(uint32_t *)to = valid ? *(const uint32_t *)from : 0;
#endif
}
DEVICE void copy_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/* Waits until at most N of this thread's groups of copies are in flight. */
template <int N> DEVICE void copy_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
#endif

extern "C" {
#include "kernels/kernels.h"
}

#ifdef ELEM_F32
typedef float elem;
DEVICE float widen(elem x) { return x; }
DEVICE elem narrow(float x) { return x; }
#else
typedef uint16_t elem;
#ifdef ELEM_F16
DEVICE float widen(elem x) { return half_as_float(x); }
#else
DEVICE float widen(elem x) { return bits_as_float((uint32_t)x << 16); }
#endif
DEVICE elem narrow(float x) { return (elem)pack2(x, 0); }
#endif

/* N neighbouring elements as f32. N is 8, with accesses of 16 bytes, if width, stride and address
 * allow it. Otherwise N is 1, or 2 for heads with an even number of columns. */
template <int N> struct pack {
    float v[N];
};

DEVICE void load(pack<1> &p, const float *from) { p.v[0] = *from; }
DEVICE void store(float *to, const pack<1> &p) { *to = p.v[0]; }
DEVICE void load(pack<2> &p, const float *from)
{
    uint2 words = *(const uint2 *)from;
    p.v[0] = bits_as_float(words.x), p.v[1] = bits_as_float(words.y);
}
DEVICE void load(pack<8> &p, const float *from)
{
    for (int i = 0; i < 2; i++) {
        float4 f = ((const float4 *)from)[i];
        p.v[4 * i] = f.x, p.v[4 * i + 1] = f.y, p.v[4 * i + 2] = f.z, p.v[4 * i + 3] = f.w;
    }
}
DEVICE void store(float *to, const pack<8> &p)
{
    for (int i = 0; i < 2; i++)
        ((float4 *)to)[i] = make_float4(p.v[4 * i], p.v[4 * i + 1], p.v[4 * i + 2], p.v[4 * i + 3]);
}
#ifndef ELEM_F32
DEVICE void load(pack<1> &p, const elem *from) { p.v[0] = widen(*from); }
DEVICE void store(elem *to, const pack<1> &p) { *to = narrow(p.v[0]); }
DEVICE void load(pack<2> &p, const elem *from)
{
    uint32_t word = *(const uint32_t *)from;
    p.v[0] = widen((elem)word), p.v[1] = widen((elem)(word >> 16));
}
DEVICE void load(pack<8> &p, const elem *from)
{
    uint4 u = *(const uint4 *)from;
    uint32_t word[4] = { u.x, u.y, u.z, u.w };
    for (int i = 0; i < 4; i++) {
        p.v[2 * i] = widen((elem)word[i]);
        p.v[2 * i + 1] = widen((elem)(word[i] >> 16));
    }
}
DEVICE void store(elem *to, const pack<8> &p)
{
    *(uint4 *)to = make_uint4(pack2(p.v[0], p.v[1]), pack2(p.v[2], p.v[3]), pack2(p.v[4], p.v[5]),
                              pack2(p.v[6], p.v[7]));
}
#endif

/* Converts bf16 or f16, independently of elem. */
DEVICE float widen_half(uint16_t half, bool is_bf16)
{
    return is_bf16 ? bits_as_float((uint32_t)half << 16) : half_as_float(half);
}
DEVICE void load_halves(pack<1> &p, const uint16_t *from, bool is_bf16)
{
    p.v[0] = widen_half(*from, is_bf16);
}
DEVICE void load_halves(pack<8> &p, const uint16_t *from, bool is_bf16)
{
    uint4 u = *(const uint4 *)from;
    uint32_t word[4] = { u.x, u.y, u.z, u.w };
    for (int i = 0; i < 4; i++) {
        p.v[2 * i] = widen_half((uint16_t)word[i], is_bf16);
        p.v[2 * i + 1] = widen_half((uint16_t)(word[i] >> 16), is_bf16);
    }
}

/* Returns the sum of x over a warp, always added in the same order. All lanes must call it, and all
 * get the sum. */
template <class T> DEVICE T warp_sum(T x)
{
    for (int mask = 16; mask; mask /= 2)
        x += shuffle_xor(x, mask);
    return x;
}

DEVICE uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Returns the largest value of a warp. As floats the bits of magnitudes have the same order, but
 * NaN has none, so the bits are compared. */
DEVICE uint32_t warp_largest(uint32_t bits)
{
    for (int mask = 16; mask; mask /= 2)
        bits = larger(bits, float_as_bits(shuffle_xor(bits_as_float(bits), mask)));
    return bits;
}

/* Returns the sum of x over a block of at most 1024 threads, always added in the same order. All
 * threads must call it, and all get the sum. scratch: 32 values in shared memory. */
template <class T> DEVICE T block_sum(T x, T *scratch)
{
    x = warp_sum(x);
    block_sync(); /* All threads have read the scratch of the previous sum. */
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    block_sync();
    x = 0;
    for (unsigned w = 0; w < (blockDim.x + 31) / 32; w++)
        x += scratch[w];
    return x;
}

#endif
