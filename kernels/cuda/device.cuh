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

enum {
    THREADS = 256,          /* of a row's block */
    FEW_ROWS = 8,           /* that are multiplied by weights as they are stored */
    LINEAR_GROUP_MOST = 3,  /* linears of a group that is */
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
    struct products *products;
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
    float *partial;        /* GAIN_PIECES sums over rows, [.., widest] */
    double *squares;       /* [3, SUM_PIECES] */
    struct row_base *base; /* attention's, [heads, rows] */
    float *splits;         /* attention_one's */
    float *thin;           /* linear_thin's: sums of pieces */
    void *workspace;
    unsigned long long *fault; /* [CHECKS] first element that is not finite */
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
struct product {
    bool a_transposed, b_transposed, is_f32; /* D and C are f32 */
    int64_t m, n, k;
    float alpha, beta;
    const elem *a, *b;
    int64_t lda, ldb;
    const void *c;
    void *d;
    int64_t ldc, ldd;
};
void product(struct device *dev, const struct product *p);
int product_open(struct device *dev, struct fail *why);
void product_close(struct device *dev);

/* W, f32 or packed, to elem rows `stride` apart. */
void weight_to_elems(struct device *dev, elem *to, int64_t stride, const struct linear *l);
/* out [rows, dim] densely = mask ⊙ x / (1 − p). */
void drop_rows(struct device *dev, elem *out, struct mat x, uint32_t site, int64_t rows,
               int64_t dim, struct dropout drop);
/* dx += mask ⊙ t / (1 − p); t [rows, dim] densely. */
void add_masked(struct device *dev, struct mat dx, const elem *t, uint32_t site, int64_t rows,
                int64_t dim, struct dropout drop);

/* linear_lora.cu: what adapters under dropout add to a group's products. */
bool takes_thin(const struct device *dev, const struct group *g, struct mat wide);
void thin_inner(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                struct dropout drop);
void thin_spread(struct device *dev, struct mat dx, struct mat du, const struct group *g,
                 int64_t rows, struct dropout drop);
void thin_outer(struct device *dev, const struct group *g, struct mat du, struct mat x,
                int64_t rows, struct dropout drop);

/* linear_decode.cu: without a backward, few rows by weights as they are stored. */
bool takes_few(const struct device *dev, const struct group *g, struct mat x, int64_t rows);
void linear_few(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows);
void head_few(struct device *dev, float *logits, struct mat x, const struct linear *head,
              int64_t rows);

/* The table's entries; each file defines its own. */
extern "C" const struct kernels kernels_cuda;
int cuda_probe(struct fail *why);
uint64_t cuda_available(void);
int cuda_open(struct device **dev, int threads, struct fail *why);
void cuda_close(struct device *dev);
size_t cuda_plan(const struct shape *shape, int threads);
int cuda_reserve(struct device *dev, const struct shape *shape, struct fail *why);
int cuda_alloc(struct device *dev, void **mem, size_t bytes, struct fail *why);
void cuda_release(struct device *dev, void *mem, size_t bytes);
void cuda_upload(struct device *dev, void *to, const void *from, size_t bytes);
void cuda_download(struct device *dev, void *to, const void *from, size_t bytes);
void cuda_zero(struct device *dev, void *mem, size_t bytes);
int cuda_sync(struct device *dev, struct fail *why);
int cuda_alloc_host(struct device *dev, void **mem, size_t bytes, struct fail *why);
void cuda_release_host(struct device *dev, void *mem, size_t bytes);
void cuda_copy_out(struct device *dev, void *to_host, const void *from, size_t bytes, int ticket);
void cuda_copy_in(struct device *dev, void *to, const void *from_host, size_t bytes, int ticket);
void cuda_copy_wait(struct device *dev, int ticket);
void cuda_range_begin(const char *name);
void cuda_range_end(void);
void cast_in(struct device *dev, struct mat out, const float *in, int64_t rows, int64_t cols);
void cast_out(struct device *dev, float *out, struct mat in, int64_t rows, int64_t cols);
void copy_rows(struct device *dev, struct mat out, struct mat in, int64_t rows, int64_t cols);
void embedding_fwd(struct device *dev, struct mat x, const void *table, enum weight_type type,
                   const int32_t *id, int64_t rows, int64_t dim);
void embedding_bwd(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                   int64_t rows, int64_t dim);
void rmsnorm_fwd(struct device *dev, struct mat y, float *rstd, struct mat x, const float *gain,
                 int64_t rows, int64_t dim, float eps);
void rmsnorm_bwd(struct device *dev, struct mat dx_acc, float *dgain_acc, struct mat dy,
                 struct mat x, const float *rstd, const float *gain, int64_t rows, int64_t dim);
void rope_apply(struct device *dev, struct mat out, struct mat x, const float *cos,
                const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                int64_t head_dim, int direction);
void linear_prepare(struct device *dev, const struct group *g);
void linear_inner(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                  struct dropout drop);
void linear_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows, struct dropout drop);
void linear_bwd_input(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                      const struct group *g, int64_t rows, struct dropout drop);
void linear_bwd_weight(struct device *dev, const struct group *g, const struct mat *dy,
                       struct mat du, struct mat x, int64_t rows, struct dropout drop);
void dropout_mask(struct device *dev, uint8_t *keep, uint32_t site, int64_t rows, int64_t dim,
                  struct dropout drop);
void attention_fwd(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                   struct mat v, struct spans spans, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale);
void attention_bwd(struct device *dev, struct mat dq, struct mat dk, struct mat dv, struct mat dout,
                   struct mat o, const float *lse, struct mat q, struct mat k, struct mat v,
                   struct spans spans, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale);
void cache_rows(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                int64_t rows);
void attention_cached(struct device *dev, struct mat o, float *lse, struct mat q,
                      const struct cache *cache, struct spans spans, int64_t past, int64_t rows,
                      int64_t heads, float scale);
void swiglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
                int64_t cols);
void swiglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
                int64_t cols);
void head_loss(struct device *dev, float *nll, struct mat dx, float *dweight_acc, struct mat x,
               const struct linear *head, const int32_t *target, int64_t rows, float dscale);
void head_logits(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows);
void sum_squares(struct device *dev, double *sum, const float *g, int64_t count);
void adamw(struct device *dev, float *p, float *m, float *v, float *g, int64_t count, float lr,
           float beta1, float beta2, float eps, float decay, int64_t step, float gscale);
void finite_check(struct device *dev, const char *name, struct mat x, int64_t rows, int64_t cols);
void widen(struct device *dev, float *out, const void *in, enum weight_type type, int64_t count);
void narrow_sum(struct device *dev, void *out, enum weight_type type, const float *a, float scale,
                const float *b, int64_t count);
void nf4_codes(struct device *dev, uint8_t *codes, float *absmax, const void *x,
               enum weight_type type, int64_t count);
void nf4_error(struct device *dev, struct nf4_error *error, const void *x, enum weight_type type,
               const uint8_t *codes, const uint8_t *absmax_codes, const float *nested, float offset,
               int64_t count);
void nf4_offset(struct device *dev, float *offset, const float *absmax, int64_t blocks);
void nf4_nest(struct device *dev, uint8_t *absmax_codes, float *nested, const float *absmax,
              float offset, int64_t blocks);
void nf4_dequantize(struct device *dev, float *x, const uint8_t *codes, const uint8_t *absmax,
                    const float *nested, float offset, int64_t count);

#endif
