/* emulation.h - compiles CUDA C++ as host C++ for tests. It runs one block at a time, whose threads
 * are fibers.
 *
 * Barriers, shuffles and tensor-core operations are meeting points, at which a thread waits for the
 * others. The kernels are compiled with -fsanitize=thread. The run time (emulation.cpp, compiled
 * without it) defines the functions that the compiler then calls at every load and store. So it
 * sees accesses out of bounds, reads of unwritten memory, and two threads or blocks that use an
 * address without a barrier between them. It needs x86-64 and gcc.
 */
#ifndef LONGQLORA_EMULATION_H
#define LONGQLORA_EMULATION_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

/* CUDA has these without a header. Headers that have them take longer to compile than a kernel. */
template <class T> constexpr T max(T a, T b) { return a < b ? b : a; }
template <class T> constexpr T min(T a, T b) { return b < a ? b : a; }

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return { x, y, z, w };
}
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }

/* ---- the run time as kernels see it ---- */

struct emulated_thread {
    dim3 at, block_at;
};
extern emulated_thread *emulated_self;
extern dim3 emulated_grid, emulated_block;
extern unsigned char *emulated_shared;

/* Calls body(argument) once for each thread. */
void emulated_run(const char *kernel, dim3 grid, dim3 block, size_t shared,
                  void (*body)(const void *), const void *argument);
template <class F>
static inline void emulated_launch(const char *kernel, dim3 grid, dim3 block, size_t shared,
                                   const F &thread)
{
    emulated_run(
        kernel, grid, block, shared, [](const void *f) __attribute__((no_sanitize("thread"))) {
            (*static_cast<const F *>(f))();
        },
        &thread);
}
void emulated_block_sync(int site);
double emulated_shuffle(double x, int mask, int site);
void emulated_ldmatrix(uint32_t *r, const void *row, bool transposed, int site);
void emulated_mma(float *c, const uint32_t *a, uint32_t b0, uint32_t b1, int site);
void emulated_wgmma(float (*d)[4], int n, const uint32_t *a, uint64_t a_at, uint64_t b_at,
                    bool columns, bool adds);
void emulated_products_begin();
void emulated_products_commit();
void emulated_products_wait(int pending, int site);
void emulated_shared_to_products();
void emulated_copy(void *to, const void *from, size_t size, bool valid);
void emulated_commit();
void emulated_wait(int pending);

#define __device__
#define __align__(n) __attribute__((aligned(n)))
#define threadIdx (emulated_self->at)
#define blockIdx (emulated_self->block_at)
#define gridDim emulated_grid
#define blockDim emulated_block
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define KERNEL(threads, blocks) static __attribute__((noinline)) void
#define SHARED_DYNAMIC(name) unsigned char *name = emulated_shared
/* The arguments are computed once. Each thread gets them as a kernel gets its parameters: reading
 * them is not a load that the run time must see, so the function that calls the kernel, but not the
 * kernel, is compiled without calls of the run time. */
#define LAUNCH(kernel, grid, block, shared, stream, ...)                                           \
    [&](auto... arguments) {                                                                       \
        emulated_launch(                                                                           \
            #kernel, grid, block,                                                                  \
            shared, [=]() __attribute__((no_sanitize("thread"))) { kernel(arguments...); });       \
    }(__VA_ARGS__)
#define block_sync() emulated_block_sync(__LINE__)

DEVICE float shuffle_xor(float x, int mask, int site = __builtin_LINE())
{
    return (float)emulated_shuffle((double)x, mask, site);
}
DEVICE double shuffle_xor(double x, int mask, int site = __builtin_LINE())
{
    return emulated_shuffle(x, mask, site);
}
DEVICE float exp2_fast(float x) { return exp2f(x); }
DEVICE float mul_rn(float a, float b) { return a * b; }
DEVICE float add_rn(float a, float b) { return a + b; }
DEVICE uint32_t mul_high(uint32_t a, uint32_t b) { return (uint32_t)((uint64_t)a * b >> 32); }
DEVICE uint32_t shuffle(uint32_t x, int lane, int site = __builtin_LINE())
{
    return (uint32_t)emulated_shuffle((double)x, (int)(threadIdx.x % 32) ^ lane, site);
}
DEVICE uint32_t fill_halves(uint32_t low, uint32_t high, int byte)
{
    uint32_t top = 0x80u << 8 * byte;
    return (high & top ? 0xffff0000 : 0) | (low & top ? 0xffff : 0);
}
DEVICE uint32_t byte_of(uint32_t x, int byte) { return x >> 8 * byte & 0xff; }
/* Atomic, so they are not reported as a race. */
void atomic_min(unsigned long long *at, unsigned long long value);
void atomic_max(uint32_t *at, uint32_t value);
DEVICE uint32_t float_as_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
DEVICE float bits_as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
DEVICE float half_as_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00) return bits_as_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    /* The factor 2^112 moves the exponent from f16's bias to f32's. It is correct for subnormals,
     * too. */
    return bits_as_float(sign | float_as_bits(bits_as_float(magnitude << 13) * 0x1p112f));
}
#ifdef ELEM_F16
DEVICE uint32_t element_bits(float x)
{
    uint32_t bits = float_as_bits(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;
    if (magnitude < 0x38800000)
        return sign | (float_as_bits(bits_as_float(magnitude) + 0.5f) - 0x3f000000);
    return sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
}
#else
DEVICE uint32_t element_bits(float x)
{
    uint32_t bits = float_as_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
#endif
DEVICE uint32_t pack2(float first, float second)
{
    return element_bits(first) | element_bits(second) << 16;
}
DEVICE void ldmatrix4(uint32_t *r, const void *row, int site = __builtin_LINE())
{
    emulated_ldmatrix(r, row, false, site);
}
DEVICE void ldmatrix4_trans(uint32_t *r, const void *row, int site = __builtin_LINE())
{
    emulated_ldmatrix(r, row, true, site);
}
DEVICE void mma(float *c, const uint32_t *a, uint32_t b0, uint32_t b1, int site = __builtin_LINE())
{
    emulated_mma(c, a, b0, b1, site);
}
/* The sums of a warpgroup product are written, and its operands read, when the kernel waits for the
 * product. */
DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)((const unsigned char *)p - emulated_shared);
}
DEVICE uint32_t word_at(uint32_t address) { return *(const uint32_t *)(emulated_shared + address); }
DEVICE uint4 load16(const void *from, bool valid)
{
    return valid ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
}
template <int N, bool COLUMNS, bool ADDS> DEVICE void wgmma(float (*d)[4], uint64_t a, uint64_t b)
{
    emulated_wgmma(d, N, NULL, a, b, COLUMNS, ADDS);
}
template <int N, bool COLUMNS> DEVICE void wgmma(float (*d)[4], const uint32_t *a, uint64_t b)
{
    emulated_wgmma(d, N, a, 0, b, COLUMNS, true);
}
DEVICE void products_begin() { emulated_products_begin(); }
DEVICE void products_commit() { emulated_products_commit(); }
template <int N> DEVICE void products_wait(int site = __builtin_LINE())
{
    emulated_products_wait(N, site);
}
DEVICE void shared_to_products() { emulated_shared_to_products(); }
template <int N> DEVICE void sums_are_written(float (*)[4]) {}
DEVICE void compute_before_wait(float, float) {}
DEVICE void copy16_async(void *to, const void *from, bool valid)
{
    emulated_copy(to, from, 16, valid);
}
DEVICE void copy8_async(void *to, const void *from, bool valid)
{
    emulated_copy(to, from, 8, valid);
}
DEVICE void copy4_async(void *to, const void *from, bool valid)
{
    emulated_copy(to, from, 4, valid);
}
DEVICE void copy_commit() { emulated_commit(); }
template <int N> DEVICE void copy_wait() { emulated_wait(N); }

/* ---- the run time as the host sees it ---- */

/* Counts things that are begun and must be ended. The test program fails at its end if a count is
 * not 0. */
struct emulated_balance {
    const char *what;
    long open;
    ~emulated_balance();
};

/* While such an object exists, the host may touch the device's memory. */
struct emulated_access {
    emulated_access();
    ~emulated_access();
};

/* Both are for cuBLASLt. The first queues a product, the second writes one of its results. */
void emulated_queue();
void emulated_write(void *to, const void *from, size_t bytes);
void emulated_read(const void *from, size_t bytes);

typedef int cudaStream_t;
typedef int cudaEvent_t;
enum cudaError_t {
    cudaSuccess,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600
};
enum cudaMemcpyKind { cudaMemcpyDefault };
enum cudaDeviceAttr {
    cudaDevAttrComputeCapabilityMajor,
    cudaDevAttrComputeCapabilityMinor,
    cudaDevAttrMaxSharedMemoryPerBlockOptin,
    cudaDevAttrPageableMemoryAccess
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };

cudaError_t cudaMalloc(void **mem, size_t bytes);
cudaError_t cudaFree(void *mem);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *mem, int value, size_t bytes, cudaStream_t stream);
/* A device has two streams. The first runs operations at once. Copies on the second are done as
 * late as the events that are waited for allow. */
cudaError_t cudaHostAlloc(void **mem, size_t bytes, unsigned flags);
static inline cudaError_t cudaFreeHost(void *) { return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, int);
/* The stream of messages, which nccl.c moves: as late as possible, when an event behind them is
 * queried. */
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, int, int);
static inline cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    return *least = *greatest = 0, cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned);
static inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
static inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
static inline cudaError_t cudaGetLastError() { return cudaSuccess; }
static inline const char *cudaGetErrorString(cudaError_t) { return "an emulated error"; }
/* EMULATION_GPUS: the number of GPUs, by default 1. They differ only in their number and their free
 * memory. EMULATION_NAME: their name. EMULATION_USED names a file, to which the number of the GPU
 * that a process opens is added. */
struct cudaDeviceProp {
    char name[256];
    struct {
        char bytes[16];
    } uuid;
};
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
/* EMULATION_DRIVER: the driver's version of CUDA, by default 12000. */
static inline cudaError_t cudaDriverGetVersion(int *v)
{
    const char *version = getenv("EMULATION_DRIVER");
    return *v = version ? (int)strtol(version, NULL, 10) : 12000, cudaSuccess;
}
/* EMULATION_SHARED: KiB of shared memory that a block may have; 227 (sm_90) or less.
 * EMULATION_CAPABILITY: compute capability times ten; 90 or less. EMULATION_PAGEABLE=1: pageable
 * memory needs no staging, so a copy from it is done as late as its stream allows. */
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int device);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute which, int value);
/* EMULATION_MEMORY: free bytes, by default 4 GiB. A list, such as 1000,2000, has the free bytes of
 * each GPU. */
cudaError_t cudaMemGetInfo(size_t *room, size_t *total);

#endif
