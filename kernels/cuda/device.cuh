/* device.cuh - what the CUDA kernels share: the device, its scratch, matrix products, launches.
 *
 * Operations are queued on one stream, copies on a second one. Every sum has one order: there are
 * no atomic additions of floats, and sums are cut by index, never by the number of multiprocessors.
 * Most matrix products are cuBLASLt's, of elem operands with f32 sums. elem is the type of
 * activations (intrinsics.cuh).
 */
#ifndef LONGQLORA_DEVICE_CUH
#define LONGQLORA_DEVICE_CUH

#include "kernels/cuda/intrinsics.cuh"

extern "C" {
#include "kernels/cuda_plan.h"
}
#include "kernels/ops.h"

enum {
    THREADS = 256,   /* threads of a block that works on one row */
    DECODE_ROWS = 8, /* rows of x that linear_decode.cu multiplies at most; more need a slot */
    MAX_GROUP = 3,   /* the largest number of linear layers in a group */
};

/* A slot holds the weights of a group in the form that matrix products read. First there is a
 * matrix [outputs, in + R] of elem, with W in its left columns and scale · B in its right ones; R
 * is the sum of the ranks of the group's adapters. A row of one linear layer has zeros in the
 * columns that belong to B of another linear layer. After it there is LoRA's matrix A, [R, in]. The
 * slot of a group in fp8 has the parts of struct fp8_layout instead. `b` is scale · B, whose rows
 * are b_stride apart. */
struct slot {
    elem *weight, *b, *a;
    int64_t b_stride;
    size_t bytes; /* size of the slot's memory */
    bool is_due;  /* The first operation that needs the slot must fill it. */
};

struct device {
    cudaStream_t stream; /* All operations but copy_out and copy_in are queued on this stream. */
    /* The functions copy_out and copy_in queue on this stream, so that they overlap with the
     * rest. */
    cudaStream_t copies;
    /* A copy waits for `ready`. copied[i] is recorded when the copy of ticket i has ended. */
    cudaEvent_t ready, copied[COPY_TICKETS];
    struct gemm_plans *gemm_plans;
    int shared_bytes; /* A block may use this many bytes of shared memory. */
    int capability;   /* This is the compute capability times ten. */
    struct shape shape;
    char *scratch;
    size_t scratch_bytes;
    struct slot slot[LINEAR_SLOTS];
    elem *dropped; /* [DROPPED_ROWS, widest] holds drop(x), or a product before it is masked. */
    elem *head;    /* [vocab, dim] holds the head as elem, if it is stored in another type. */
    elem *head_b;  /* [vocab, row_stride(rank)] holds the B of the head's adapter. */
    const void *head_source; /* `head` was converted from these weights. */
    float *logits;           /* This and dlogits are [logit_rows, row_stride(vocab)]. */
    elem *dlogits;
    int64_t logit_rows;
    float *partial;              /* [GAIN_PIECES, widest] holds partial sums over rows. */
    double *squares;             /* [3, SUM_PIECES] holds partial sums in f64. */
    struct row_stats *row_stats; /* [heads, rows] is computed for the backward of attention. */
    float *splits;               /* Each block of flash_decode writes its partial result here. */
    float *lora_partial;         /* The blocks of linear_lora.cu write their partial sums here. */
    uint8_t *fp8;                /* [chunk, widest] holds the left operand of a product in fp8. */
    float *fp8_scales;           /* [chunk] holds the scales of its rows. */
    void *workspace;
    /* [CHECKS] says which element of a checked array is the first that is not finite. */
    unsigned long long *first_nonfinite;
    char names[CHECKS][64];
    int64_t check_cols[CHECKS];
    int checks;
    struct fail failed;
    bool has_failed;
};

/* True if the GPU has tensor cores for elem. The plug-in in bf16 requires capability 80 anyway. */
static inline bool has_tensor_cores(const struct device *dev) { return dev->capability >= 75; }

static inline elem *elems(struct mat m) { return (elem *)m.at; }

/* Keeps the first failure with the operation's name. sync reports it. */
void cuda_check(struct device *dev, cudaError_t error, const char *operation);
static inline void launched(struct device *dev, const char *operation)
{
    cuda_check(dev, cudaPeekAtLastError(), operation);
}

/* Makes the GPU that this process chose the current one of the calling thread. */
cudaError_t device_use();

/* Must be called before a launch whose blocks use more than 48 KiB of shared memory. */
static inline void allow_shared(struct device *dev, const void *kernel, size_t bytes,
                                const char *operation)
{
    cuda_check(
        dev, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
        operation);
}

/* Can the rows of this matrix be read and written eight elements at a time? */
static inline bool is_wide(const void *at, int64_t stride, int64_t cols, size_t element)
{
    return (uintptr_t)at % 16 == 0 && stride * (int64_t)element % 16 == 0 && cols % 8 == 0;
}
static inline bool mat_is_wide(struct mat m, int64_t cols)
{
    return !m.at || is_wide(m.at, m.stride, cols, sizeof(elem));
}

/* D = alpha · op(A) op(B) + beta · C, row-major, D [m, n]. A and B are of elem; C and D are of elem
 * too, or of f32 with is_f32. C may be D. With is_fp8, a and b are the addresses of e4m3 numbers;
 * then B is transposed, A is not, and n, k and the strides are multiples of FP8_MULTIPLE. */
struct gemm {
    bool a_transposed, b_transposed, is_f32, is_fp8;
    int64_t m, n, k;
    float alpha, beta;
    const elem *a, *b;
    int64_t lda, ldb;
    const void *c;
    void *d;
    int64_t ldc, ldd;
};
void gemm(struct device *dev, const struct gemm *p);
size_t gemm_version(); /* of the library that multiplies */
int gemm_open(struct device *dev, struct fail *why);
void gemm_close(struct device *dev);

/* linear_fp8.cu. fp8_fill_weights puts the weights of a group into its slot. fp8_fwd computes
 * y = residual + bias + x Wᵀ, and fp8_bwd_input computes dx = dy W. */
void fp8_fill_weights(struct device *dev, const struct group *g);
void fp8_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
             struct mat residual, int64_t rows);
void fp8_bwd_input(struct device *dev, struct mat dx, const struct mat *dy, const struct group *g,
                   int64_t rows);

/* Converts W, whatever its type, to rows of elem that are `stride` apart. */
void weight_to_elems(struct device *dev, elem *to, int64_t stride, const struct linear *l);
/* out [rows, dim], dense, = mask ⊙ x / (1 − p). */
void drop_rows(struct device *dev, elem *out, struct mat x, uint32_t dropout_stream, int64_t rows,
               int64_t dim, struct dropout drop);
/* dx += mask ⊙ t / (1 − p), with t [rows, dim] dense. */
void add_masked(struct device *dev, struct mat dx, const elem *t, uint32_t dropout_stream,
                int64_t rows, int64_t dim, struct dropout drop);

/* These are in linear_lora.cu. They compute the adapters' part of a group's products under dropout.
 * suits_lora says whether they can do it for these shapes and this GPU; `wide` is the matrix
 * [rows, in] among their operands, x or dx. */
bool suits_lora(const struct device *dev, const struct group *g, struct mat wide);
void lora_fwd_a(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                struct dropout drop);
void lora_bwd_x(struct device *dev, struct mat dx, struct mat du, const struct group *g,
                int64_t rows, struct dropout drop);
void lora_bwd_a(struct device *dev, const struct group *g, struct mat du, struct mat x,
                int64_t rows, struct dropout drop);

/* These are in linear_decode.cu. In inference they multiply few rows by weights as they are stored;
 * suits_decode says whether linear_decode can do it for this group. */
bool suits_decode(const struct device *dev, const struct group *g, struct mat x, int64_t rows);
void linear_decode(struct device *dev, struct mat y, struct mat x, const struct group *g,
                   struct mat residual, int64_t rows);
void head_decode(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows);

extern "C" const struct kernels kernels_cuda;

#endif
