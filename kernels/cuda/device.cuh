/* device.cuh - what the CUDA kernels share: the device, its scratch, products, launches.
 *
 * Operations are queued on one stream. Sums have one order: no float atomics, pieces cut
 * by index and never by the number of processors. Matrix products are cuBLASLt's, in
 * elem with f32 sums.
 */
#ifndef LONGQLORA_DEVICE_CUH
#define LONGQLORA_DEVICE_CUH

#include "intrinsics.cuh"

extern "C" {
#include "../cuda_plan.h"
}
#include "../ops.h"

enum {
    THREADS = 256,   /* of a row's block */
    DECODE_ROWS = 8, /* that are multiplied by weights as they are stored */
    MAX_GROUP = 3,   /* linears of a group that is */
};

/* A group's weights, ready for products: [outputs, in + ranks] of elem, scale · B right of W,
 * zeros where a row meets another linear's rank; below it A, [ranks, in]. */
struct slot {
    elem *weight, *a;
    size_t elements; /* that it has room for */
    bool is_due;     /* its group is prepared when it is first needed */
};

struct device {
    cudaStream_t stream, copies;             /* operations; copies beside them */
    cudaEvent_t ready, copied[COPY_TICKETS]; /* what a copy waits for; its end */
    struct gemm_plans *gemm_plans;
    int shared_bytes;   /* that a block may have */
    int capability;     /* times ten */
    int reads_pageable; /* memory of the host without staging: Grace, or HMM */
    struct shape shape;
    char *scratch;
    size_t scratch_bytes;
    struct slot slot[LINEAR_SLOTS];
    elem *dropped;          /* [DROPPED_ROWS, widest] drop(x), or a product to be masked */
    elem *head;             /* [vocab, dim], unless its weights are elem as they are */
    const void *head_is_of; /* the weights that it was made of */
    float *logits;          /* [logit_rows, vocab] */
    elem *dlogits;
    int64_t logit_rows;
    float *partial;              /* GAIN_PIECES sums over rows, [.., widest] */
    double *squares;             /* [3, SUM_PIECES] */
    struct row_stats *row_stats; /* attention's, [heads, rows] */
    float *splits;               /* flash_decode's */
    float *lora_partial;         /* linear_thin's: sums of pieces */
    void *workspace;
    unsigned long long *first_nonfinite; /* [CHECKS] first element that is not finite */
    char names[CHECKS][64];
    int64_t check_cols[CHECKS];
    int checks;
    struct fail failed;
    bool has_failed;
};

/* Has it tensor cores for elem? The plug-in in bf16 wants 80 in any case. */
static inline bool has_tensor_cores(const struct device *dev) { return dev->capability >= 75; }

static inline elem *elems(struct mat m) { return (elem *)m.at; }

/* Keeps the first failure, with the operation's name; sync tells it. */
void cuda_check(struct device *dev, cudaError_t error, const char *operation);
static inline void launched(struct device *dev, const char *operation)
{
    cuda_check(dev, cudaPeekAtLastError(), operation);
}

/* Before a launch whose blocks have more than 48 KiB of shared memory. */
static inline void allow_shared(struct device *dev, const void *kernel, size_t bytes,
                                const char *operation)
{
    cuda_check(
        dev, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
        operation);
}

/* May rows of this matrix be read and written eight elements at a time? */
static inline bool is_wide(const void *at, int64_t stride, int64_t cols, size_t element)
{
    return (uintptr_t)at % 16 == 0 && stride * (int64_t)element % 16 == 0 && cols % 8 == 0;
}
static inline bool mat_is_wide(struct mat m, int64_t cols)
{
    return !m.at || is_wide(m.at, m.stride, cols, sizeof(elem));
}

/* D = alpha · op(A) op(B) + beta · C, row-major, D [m, n]; elem in, elem or f32 out; C may be D. */
struct gemm {
    bool a_transposed, b_transposed, is_f32; /* D and C are f32 */
    int64_t m, n, k;
    float alpha, beta;
    const elem *a, *b;
    int64_t lda, ldb;
    const void *c;
    void *d;
    int64_t ldc, ldd;
};
void gemm(struct device *dev, const struct gemm *p);
int gemm_open(struct device *dev, struct fail *why);
void gemm_close(struct device *dev);

/* W, f32 or packed, to elem rows `stride` apart. */
void weight_to_elems(struct device *dev, elem *to, int64_t stride, const struct linear *l);
/* out [rows, dim] densely = mask ⊙ x / (1 − p). */
void drop_rows(struct device *dev, elem *out, struct mat x, uint32_t site, int64_t rows,
               int64_t dim, struct dropout drop);
/* dx += mask ⊙ t / (1 − p); t [rows, dim] densely. */
void add_masked(struct device *dev, struct mat dx, const elem *t, uint32_t site, int64_t rows,
                int64_t dim, struct dropout drop);

/* linear_lora.cu: what adapters under dropout add to a group's products. */
bool suits_lora(const struct device *dev, const struct group *g, struct mat wide);
void lora_fwd_a(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                struct dropout drop);
void lora_bwd_x(struct device *dev, struct mat dx, struct mat du, const struct group *g,
                int64_t rows, struct dropout drop);
void lora_bwd_a(struct device *dev, const struct group *g, struct mat du, struct mat x,
                int64_t rows, struct dropout drop);

/* linear_decode.cu: without a backward, few rows by weights as they are stored. */
bool suits_decode(const struct device *dev, const struct group *g, struct mat x, int64_t rows);
void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows);
void head_decode(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows);

extern "C" const struct kernels kernels_cuda;

#endif
