/* Matrix products by cuBLASLt: elements in, f32 sums, one workspace of our own, so that the
 * same shapes give the same bits. Row-major products are the column-major ones of the
 * transposed matrices: D^T = op(B)^T op(A)^T. */
#include "cuda.cuh"

#include <cublasLt.h>

#ifdef ELEM_F16
static const cudaDataType_t element = CUDA_R_16F;
#else
static const cudaDataType_t element = CUDA_R_16BF;
#endif

static void check(struct device *dev, cublasStatus_t status, const struct product *p)
{
    if (status == CUBLAS_STATUS_SUCCESS || dev->has_failed) return;
    dev->has_failed = true;
    fail(&dev->failed, "device cuda: product %lld x %lld x %lld: cuBLASLt says %d", (long long)p->m,
         (long long)p->n, (long long)p->k, (int)status);
}

int product_open(struct device *dev, struct fail *why)
{
    cublasLtHandle_t lt;
    cublasStatus_t status = cublasLtCreate(&lt);
    if (status != CUBLAS_STATUS_SUCCESS)
        return fail(why, "device cuda: cuBLASLt cannot start: %d", (int)status);
    dev->lt = lt;
    return 0;
}

void product_close(struct device *dev) { cublasLtDestroy((cublasLtHandle_t)dev->lt); }

/* What one product asks of cuBLASLt. */
struct asked {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulPreference_t preference;
};

static cublasStatus_t describe(struct asked *q, const struct product *p)
{
    cublasOperation_t a_op = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t b_op = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cudaDataType_t out = p->is_f32 ? CUDA_R_32F : element;
    uint64_t workspace = WORKSPACE;
    /* Partial sums only in f32, and there in the workspace, in one order. */
    uint32_t schemes =
        p->is_f32 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasStatus_t s;
    if ((s = cublasLtMatmulDescCreate(&q->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)) ||
        (s = cublasLtMatmulDescSetAttribute(q->operation, CUBLASLT_MATMUL_DESC_TRANSA, &b_op,
                                            sizeof b_op)) ||
        (s = cublasLtMatmulDescSetAttribute(q->operation, CUBLASLT_MATMUL_DESC_TRANSB, &a_op,
                                            sizeof a_op)) ||
        (s = cublasLtMatrixLayoutCreate(&q->a, element, p->b_transposed ? p->k : p->n,
                                        p->b_transposed ? p->n : p->k, p->ldb)) ||
        (s = cublasLtMatrixLayoutCreate(&q->b, element, p->a_transposed ? p->m : p->k,
                                        p->a_transposed ? p->k : p->m, p->lda)) ||
        (s = cublasLtMatrixLayoutCreate(&q->c, out, p->n, p->m, p->ldc)) ||
        (s = cublasLtMatrixLayoutCreate(&q->d, out, p->n, p->m, p->ldd)) ||
        (s = cublasLtMatmulPreferenceCreate(&q->preference)) ||
        (s = cublasLtMatmulPreferenceSetAttribute(q->preference,
                                                  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &workspace, sizeof workspace)) ||
        (s = cublasLtMatmulPreferenceSetAttribute(
             q->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes)))
        return s;
    return CUBLAS_STATUS_SUCCESS;
}

static void forget(struct asked *q)
{
    if (q->preference) cublasLtMatmulPreferenceDestroy(q->preference);
    if (q->d) cublasLtMatrixLayoutDestroy(q->d);
    if (q->c) cublasLtMatrixLayoutDestroy(q->c);
    if (q->b) cublasLtMatrixLayoutDestroy(q->b);
    if (q->a) cublasLtMatrixLayoutDestroy(q->a);
    if (q->operation) cublasLtMatmulDescDestroy(q->operation);
}

void product(struct device *dev, const struct product *p)
{
    struct asked q = {};
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    if (dev->has_failed || !p->m || !p->n) return;
    cublasLtHandle_t lt = (cublasLtHandle_t)dev->lt;
    cublasStatus_t status = describe(&q, p);
    if (!status)
        status = cublasLtMatmulAlgoGetHeuristic(lt, q.operation, q.a, q.b, q.c, q.d, q.preference,
                                                1, &best, &found);
    if (!status && !found) status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (!status)
        status = cublasLtMatmul(lt, q.operation, &p->alpha, p->b, q.a, p->a, q.b, &p->beta, p->c,
                                q.c, p->d, q.d, &best.algo, dev->workspace, WORKSPACE, dev->stream);
    check(dev, status, p);
    forget(&q);
}
