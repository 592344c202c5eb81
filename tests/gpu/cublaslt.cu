/* Replaces libcublasLt.so by products with plain loops, for compute-sanitizer's racecheck. In
 * cuBLASLt racecheck crashes or takes minutes, and only our kernels are to be checked.
 * This file has only the functions that kernels/cuda/gemm_cublaslt.cu calls. */
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <new>

struct plain_layout {
    cudaDataType_t type;
    uint64_t rows;
    int64_t ld;
    uint64_t cols;
};
struct plain_operation {
    bool a_transposed, b_transposed;
};

static plain_layout *of(cublasLtMatrixLayout_t l) { return (plain_layout *)l; }
static plain_operation *of(cublasLtMatmulDesc_t d) { return (plain_operation *)d; }

extern "C" {

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t *lt)
{
    *lt = (cublasLtHandle_t) new int();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t lt)
{
    delete (int *)lt;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t,
                                        cudaDataType_t)
{
    *d = (cublasLtMatmulDesc_t) new plain_operation();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete of(d);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t)
{
    bool is_transposed = *(const cublasOperation_t *)value == CUBLAS_OP_T;
    (name == CUBLASLT_MATMUL_DESC_TRANSA ? of(d)->a_transposed : of(d)->b_transposed) =
        is_transposed;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    *l = (cublasLtMatrixLayout_t) new plain_layout{ type, rows, ld, cols };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete of(l);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = (cublasLtMatmulPreference_t) new int();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete (int *)p;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t,
                                                    const void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    *results = {};
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}
}

struct plain_matrix {
    void *at;
    int64_t row, col; /* distances between rows and between columns, in elements */
    cudaDataType_t type;
};

static __device__ float value_of(const plain_matrix &m, int64_t row, int64_t col)
{
    int64_t i = row * m.row + col * m.col;
    return m.type == CUDA_R_32F    ? ((const float *)m.at)[i]
           : m.type == CUDA_R_16BF ? __bfloat162float(((const __nv_bfloat16 *)m.at)[i])
                                   : __half2float(((const __half *)m.at)[i]);
}

static __global__ void multiply(plain_matrix a, plain_matrix b, plain_matrix c, plain_matrix d,
                                int64_t rows, int64_t cols, int64_t inner, float alpha, float beta)
{
    int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, row = n % rows, col = n / rows;
    if (col >= cols) return;
    float sum = 0;
    for (int64_t k = 0; k < inner; k++)
        sum += value_of(a, row, k) * value_of(b, k, col);
    sum *= alpha;
    if (beta != 0) sum += beta * value_of(c, row, col);
    int64_t i = row * d.row + col * d.col;
    if (d.type == CUDA_R_32F)
        ((float *)d.at)[i] = sum;
    else if (d.type == CUDA_R_16BF)
        ((__nv_bfloat16 *)d.at)[i] = __float2bfloat16(sum);
    else
        ((__half *)d.at)[i] = __float2half(sum);
}

static plain_matrix matrix_of(const void *at, const plain_layout *l, bool is_transposed)
{
    return { (void *)at, is_transposed ? l->ld : 1, is_transposed ? 1 : l->ld, l->type };
}

extern "C" cublasStatus_t
cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void *alpha, const void *a,
               cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
               const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
               cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *, void *, size_t,
               cudaStream_t stream)
{
    const plain_operation *o = of(operation);
    const plain_layout *out = of(d_layout);
    uint64_t inner = o->a_transposed ? of(a_layout)->rows : of(a_layout)->cols;
    uint64_t count = out->rows * out->cols;
    multiply<<<(unsigned)((count + 255) / 256), 256, 0, stream>>>(
        matrix_of(a, of(a_layout), o->a_transposed), matrix_of(b, of(b_layout), o->b_transposed),
        matrix_of(c, of(c_layout), false), matrix_of(d, out, false), (int64_t)out->rows,
        (int64_t)out->cols, (int64_t)inner, *(const float *)alpha, *(const float *)beta);
    return cudaPeekAtLastError() == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                : CUBLAS_STATUS_EXECUTION_FAILED;
}
