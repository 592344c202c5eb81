/* Matrix products by cuBLASLt, of elem operands with f32 sums, in a workspace of the device.
 *
 * A plan is an algorithm of cuBLASLt for one shape. The first plan that cuBLASLt's heuristic
 * proposes for a shape is kept and always used. So equal shapes give equal bits, and a product
 * costs the host two microseconds instead of fifty. cuBLASLt is column-major. A row-major product
 * is the column-major product of the transposed matrices: Dᵀ = op(B)ᵀ op(A)ᵀ.
 */
#include "kernels/cuda/device.cuh"

#include <cublasLt.h>
#include <new>

#ifdef ELEM_F32
static const cudaDataType_t element = CUDA_R_32F;
#elif defined(ELEM_F16)
static const cudaDataType_t element = CUDA_R_16F;
#else
static const cudaDataType_t element = CUDA_R_16BF;
#endif

/* CUDA_R_8F_E4M3, a name that the headers of CUDA 11.8 and later have. */
static const cudaDataType_t e4m3 = (cudaDataType_t)28;

static cudaDataType_t operand_type(bool is_fp8) { return is_fp8 ? e4m3 : element; }

/* Products that agree in all of these fields share a plan. */
struct gemm_shape {
    int64_t m, n, k, lda, ldb, ldc, ldd;
    uint32_t a_align, b_align, c_align, d_align; /* Alignments are powers of two up to 256 bytes. */
    bool a_transposed, b_transposed, is_f32, is_fp8, adds;
    bool operator==(const gemm_shape &) const = default;
};

struct gemm_plan {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algorithm;
};

/* Training has some thirty shapes, and a prompt twelve for each of its lengths. */
enum { PLANS = 128 };

struct gemm_plans {
    cublasLtHandle_t lt;
    gemm_shape shapes[PLANS];
    gemm_plan plans[PLANS];
    int count, oldest;
};

static void check(struct device *dev, cublasStatus_t status, const struct gemm *p)
{
    if (status == CUBLAS_STATUS_SUCCESS || dev->has_failed) return;
    dev->has_failed = true;
    fail(&dev->failed, "device cuda: product %lld x %lld x %lld: cuBLASLt says %d", (long long)p->m,
         (long long)p->n, (long long)p->k, (int)status);
}

size_t gemm_version() { return cublasLtGetVersion(); }

int gemm_open(struct device *dev, struct fail *why)
{
    dev->gemm_plans = new (std::nothrow) gemm_plans();
    if (!dev->gemm_plans) return fail(why, "device cuda: out of memory");
    cublasStatus_t status = cublasLtCreate(&dev->gemm_plans->lt);
    if (status != CUBLAS_STATUS_SUCCESS)
        return fail(why, "device cuda: cuBLASLt cannot start: %d", (int)status);
    return 0;
}

static void destroy_plan(gemm_plan *a)
{
    if (a->d) cublasLtMatrixLayoutDestroy(a->d);
    if (a->c) cublasLtMatrixLayoutDestroy(a->c);
    if (a->b) cublasLtMatrixLayoutDestroy(a->b);
    if (a->a) cublasLtMatrixLayoutDestroy(a->a);
    if (a->operation) cublasLtMatmulDescDestroy(a->operation);
    *a = {};
}

void gemm_close(struct device *dev)
{
    if (!dev->gemm_plans) return;
    for (int i = 0; i < dev->gemm_plans->count; i++)
        destroy_plan(&dev->gemm_plans->plans[i]);
    if (dev->gemm_plans->lt) cublasLtDestroy(dev->gemm_plans->lt);
    delete dev->gemm_plans;
}

static cublasStatus_t describe(gemm_plan *a, const gemm_shape &q)
{
    cublasOperation_t a_op = q.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t b_op = q.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cudaDataType_t out = q.is_f32 ? CUDA_R_32F : element, in = operand_type(q.is_fp8);
    cublasStatus_t s;
    if ((s = cublasLtMatmulDescCreate(&a->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)) ||
        (s = cublasLtMatmulDescSetAttribute(a->operation, CUBLASLT_MATMUL_DESC_TRANSA, &b_op,
                                            sizeof b_op)) ||
        (s = cublasLtMatmulDescSetAttribute(a->operation, CUBLASLT_MATMUL_DESC_TRANSB, &a_op,
                                            sizeof a_op)) ||
        (s = cublasLtMatrixLayoutCreate(&a->a, in, q.b_transposed ? q.k : q.n,
                                        q.b_transposed ? q.n : q.k, q.ldb)) ||
        (s = cublasLtMatrixLayoutCreate(&a->b, in, q.a_transposed ? q.m : q.k,
                                        q.a_transposed ? q.k : q.m, q.lda)) ||
        (s = cublasLtMatrixLayoutCreate(&a->c, out, q.n, q.m, q.ldc)) ||
        (s = cublasLtMatrixLayoutCreate(&a->d, out, q.n, q.m, q.ldd)))
        return s;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t preference, const gemm_shape &q)
{
    const uint64_t workspace = WORKSPACE;
    /* This lets cuBLASLt cut a sum into partial sums, but only into f32 ones in its workspace,
     * which it adds in a fixed order. If cuBLASLt could not cut sums, products with long sums and
     * small results (du, dA, dB) would fill only a quarter of a large GPU. */
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t size;
    } attributes[] = {
        { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace },
        { CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &q.b_align, sizeof q.b_align },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &q.a_align, sizeof q.a_align },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &q.c_align, sizeof q.c_align },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &q.d_align, sizeof q.d_align },
    };
    for (const auto &a : attributes) {
        cublasStatus_t s =
            cublasLtMatmulPreferenceSetAttribute(preference, a.name, a.value, a.size);
        if (s) return s;
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* Asks for up to max_results plans and uses the first. */
static cublasStatus_t ask_heuristic(cublasLtHandle_t lt, gemm_plan *a, const gemm_shape &q,
                                    cublasLtMatmulHeuristicResult_t *results, int max_results,
                                    int *count)
{
    cublasLtMatmulPreference_t preference = NULL;
    *count = 0;
    cublasStatus_t status = describe(a, q);
    if (!status) status = cublasLtMatmulPreferenceCreate(&preference);
    if (!status) status = prefer(preference, q);
    if (!status)
        status = cublasLtMatmulAlgoGetHeuristic(lt, a->operation, a->a, a->b, a->c, a->d,
                                                preference, max_results, results, count);
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    if (!status && !*count) status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (!status) a->algorithm = results->algo;
    return status;
}

static uint32_t alignment(const void *at)
{
    uintptr_t lowest = (uintptr_t)at & -(uintptr_t)at;
    return lowest && lowest < 256 ? (uint32_t)lowest : 256;
}

/* When all places are taken, a new plan replaces the oldest. */
static cublasStatus_t find_plan(struct gemm_plans *all, const gemm_shape &q, const gemm_plan **to)
{
    for (int i = 0; i < all->count; i++)
        if (all->shapes[i] == q) {
            *to = &all->plans[i];
            return CUBLAS_STATUS_SUCCESS;
        }
    cublasLtMatmulHeuristicResult_t first;
    int count, i = all->count < PLANS ? all->count : all->oldest++ % PLANS;
    destroy_plan(&all->plans[i]);
    cublasStatus_t status = ask_heuristic(all->lt, &all->plans[i], q, &first, 1, &count);
    all->shapes[i] = status ? gemm_shape{} : q;
    if (i == all->count) all->count++;
    *to = &all->plans[i];
    return status;
}

static gemm_shape gemm_shape_of(const struct gemm *p)
{
    return { p->m,
             p->n,
             p->k,
             p->lda,
             p->ldb,
             p->ldc,
             p->ldd,
             alignment(p->a),
             alignment(p->b),
             alignment(p->c),
             alignment(p->d),
             p->a_transposed,
             p->b_transposed,
             p->is_f32,
             p->is_fp8,
             p->beta != 0 };
}

static cublasStatus_t run_plan(struct device *dev, const struct gemm *p, const gemm_plan *a)
{
    return cublasLtMatmul(dev->gemm_plans->lt, a->operation, &p->alpha, p->b, a->a, p->a, a->b,
                          &p->beta, p->c, a->c, p->d, a->d, &a->algorithm, dev->workspace,
                          WORKSPACE, dev->stream);
}

void gemm(struct device *dev, const struct gemm *p)
{
    const gemm_plan *a;
    if (dev->has_failed || !p->m || !p->n) return;
    cublasStatus_t status = find_plan(dev->gemm_plans, gemm_shape_of(p), &a);
    if (!status) status = run_plan(dev, p, a);
    check(dev, status, p);
}
