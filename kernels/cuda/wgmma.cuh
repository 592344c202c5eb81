/* wgmma.cuh - Hopper's asynchronous products of a warpgroup (four warps, 64 rows), whose operands
 * lie in shared memory (PTX ISA, "Asynchronous warpgroup level matrix multiply-accumulate"). For
 * sm_90a only.
 *
 * A tile of C columns consists of C / 64 panels of [ROWS, 64] elements, one after the other. A
 * panel's rows have 128 bytes, and their chunks of 16 bytes are permuted by the row's number (the
 * 128-byte swizzle). Panels are aligned to 1024 bytes. Sums have the layout of mma's sums: each
 * warp has 16 rows, and lane 4g + t holds, of each eight columns, the rows g and g + 8, columns 2t
 * and 2t + 1.
 */
#ifndef LONGQLORA_WGMMA_CUH
#define LONGQLORA_WGMMA_CUH

#include "kernels/cuda/tile.cuh"

#ifndef EMULATE
/* Must be called before a warpgroup's products if other instructions wrote to the products' sums or
 * to an operand in registers. */
DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/* Waits until at most N groups of products are in flight. */
template <int N> DEVICE void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* Makes what this thread wrote to shared memory visible to products after the next barrier. */
DEVICE void shared_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#ifdef ELEM_F16
#define WGMMA_TYPES "f32.f16.f16"
#else
#define WGMMA_TYPES "f32.bf16.bf16"
#endif
/* clang-format off */
#define SUM(how, i) how "f"(d[i][0]), how "f"(d[i][1]), how "f"(d[i][2]), how "f"(d[i][3])
#define SUMS_64(how) SUM(how, 0), SUM(how, 1), SUM(how, 2), SUM(how, 3), SUM(how, 4), SUM(how, 5), \
                     SUM(how, 6), SUM(how, 7)
#define SUMS_128(how) SUMS_64(how), SUM(how, 8), SUM(how, 9), SUM(how, 10), SUM(how, 11), \
                      SUM(how, 12), SUM(how, 13), SUM(how, 14), SUM(how, 15)
#define NAMES_64 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21," \
                 "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES_128 NAMES_64 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
                  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WGMMA(n, adds) "{.reg .pred p; setp.ne.b32 p, " adds ", 0;" \
                       "wgmma.mma_async.sync.aligned.m64n" #n "k16." WGMMA_TYPES \
                       " {" NAMES_##n "}, "
/* clang-format on */

/* Computes d [64, N] = A [64, 16] B, or d += A B if ADDS is set. `a` and `b` are the descriptors of
 * A and B in shared memory. B is stored as [16, N] if COLUMNS is set, else as [N, 16]. */
template <int N, bool COLUMNS, bool ADDS> DEVICE void wgmma(float (*d)[4], uint64_t a, uint64_t b)
{
    static_assert(N == 64 || N == 128);
    if constexpr (N == 64 && ADDS)
        asm volatile(WGMMA(64, "1") "%32, %33, p, 1, 1, 0, %34;}"
                     : SUMS_64("+")
                     : "l"(a), "l"(b), "n"(COLUMNS));
    else if constexpr (N == 64)
        asm volatile(WGMMA(64, "0") "%32, %33, p, 1, 1, 0, %34;}"
                     : SUMS_64("=")
                     : "l"(a), "l"(b), "n"(COLUMNS));
    else if constexpr (ADDS)
        asm volatile(WGMMA(128, "1") "%64, %65, p, 1, 1, 0, %66;}"
                     : SUMS_128("+")
                     : "l"(a), "l"(b), "n"(COLUMNS));
    else
        asm volatile(WGMMA(128, "0") "%64, %65, p, 1, 1, 0, %66;}"
                     : SUMS_128("=")
                     : "l"(a), "l"(b), "n"(COLUMNS));
}
/* Computes d += A B with A in registers, in the layout of mma. Nothing may write to these registers
 * until products_wait says that the product has ended. */
template <int N, bool COLUMNS> DEVICE void wgmma(float (*d)[4], const uint32_t *a, uint64_t b)
{
    static_assert(N == 64 || N == 128);
    if constexpr (N == 64)
        asm volatile(WGMMA(64, "1") "{%32,%33,%34,%35}, %36, p, 1, 1, %37;}"
                     : SUMS_64("+")
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(COLUMNS));
    else
        asm volatile(WGMMA(128, "1") "{%64,%65,%66,%67}, %68, p, 1, 1, %69;}"
                     : SUMS_128("+")
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(COLUMNS));
}
/* Call this after products_wait and before the sums are used. Without it the compiler would move
 * the uses ahead of the wait, because it does not know that a product writes the sums. */
template <int N> DEVICE void sums_are_written(float (*d)[4])
{
#pragma unroll
    for (int i = 0; i < N / 8; i++)
        asm volatile("" : SUM("+", i)::"memory");
}
/* Makes ptxas compute these two values, which are not negative, before the products_wait that
 * follows. It would otherwise move the wait ahead of arithmetic that is meant to run while the
 * product is in flight. */
DEVICE void compute_before_wait(float a, float b)
{
    asm volatile("{.reg .pred p; setp.lt.s32 p, %0, 0; @p nanosleep.u32 0;}" ::"r"(
                     __float_as_uint(a) | __float_as_uint(b))
                 : "memory");
}
#endif

template <int ROWS> DEVICE elem *panel_at(elem *tile, int row, int column)
{
    return tile + column / 64 * (ROWS * 64) + row * 64 + ((column >> 3 & 7) ^ (row & 7)) * 8 +
           (column & 7);
}

/* The descriptor of a panel: its address, the distance to the next 64 columns (used where B is
 * stored as [16, N]) and the distance to the next eight rows, each in units of 16 bytes. */
DEVICE uint64_t descriptor(const elem *at, int columns_bytes)
{
    const uint64_t eight_rows = 1024, swizzle_128 = (uint64_t)1 << 62;
    return (uint64_t)(shared_address(at) >> 4 & 0x3fff) |
           (uint64_t)(columns_bytes >> 4 & 0x3fff) << 16 | eight_rows >> 4 << 32 | swizzle_128;
}

/* Computes d [64, N] = A Bᵀ. A is 64 rows, from `row` on, of a tile of A_ROWS rows. B is a tile of
 * N rows. Both have C columns. */
template <int C, int N, int A_ROWS>
DEVICE void matmul_transposed(float (*d)[4], const elem *a, int row, const elem *b)
{
    uint64_t left = descriptor(a + row * 64, 0), right = descriptor(b, 0);
#pragma unroll
    for (int k = 0; k < C; k += 16) {
        int to_a = (k / 64 * (A_ROWS * 64) + k % 64) / 8, to_b = (k / 64 * (N * 64) + k % 64) / 8;
        if (k)
            wgmma<N, false, true>(d, left + to_a, right + to_b);
        else
            wgmma<N, false, false>(d, left, right);
    }
}

/* Computes d [64, C] += p B, with p [64, K] in registers and B [K, C] in shared memory. */
template <int C, int K> DEVICE void matmul_add(float (*d)[4], const uint32_t (*p)[4], const elem *b)
{
    uint64_t right = descriptor(b, K * 128);
#pragma unroll
    for (int k = 0; k < K; k += 16)
        wgmma<C, true>(d, p[k / 16], right + k * 8);
}

template <int C, int ROWS, int THREADS_>
DEVICE void fetch_panels(elem *tile, const elem *from, int64_t stride, int first, int rows)
{
    elem *to = panel_at<ROWS>(tile, threadIdx.x / (C / 8), threadIdx.x % (C / 8) * 8);
    fetch_rows<C, ROWS, THREADS_, 64>(to, from, stride, first, rows);
}

#endif
