/* Replaces cuBLASLt in the emulation. Products are plain loops in double, rounded once. An
 * algorithm may only be used for the layouts, types, alignments and workspace for which it was
 * chosen. */
#include "tests/cuda-emulation/cublasLt.h"

#include "kernels/cuda/device.cuh"
#include "lib/common/fp8.h"

#include <map>
#include <vector>

struct cublasLtContext {
    int open;
};
struct cublasLtMatmulDescOpaque {
    cublasOperation_t a, b;
};
struct cublasLtMatrixLayoutOpaque {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
};
struct cublasLtMatmulPreferenceOpaque {
    std::map<int, uint64_t> value;
};

/* Counts the descriptors: each one that is created must be destroyed. */
static emulated_balance made = { "of cuBLASLt's objects", 0 };

template <class T> static cublasStatus_t keep(T **to, T value)
{
    *to = new T(value);
    made.open++;
    return CUBLAS_STATUS_SUCCESS;
}
template <class T> static cublasStatus_t give_back(T *object)
{
    made.open--;
    delete object;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *lt) { return keep(lt, { 1 }); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t lt) { return give_back(lt); }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t,
                                        cudaDataType_t scale)
{
    if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    return keep(d, { CUBLAS_OP_N, CUBLAS_OP_N });
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return give_back(d); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t size)
{
    if (size != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
    (name == CUBLASLT_MATMUL_DESC_TRANSA ? d->a : d->b) = *(const cublasOperation_t *)value;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    return keep(l, { type, rows, cols, ld });
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return give_back(l); }
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) { return keep(p, {}); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    return give_back(p);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t size)
{
    if (size != (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4))
        return CUBLAS_STATUS_INVALID_VALUE;
    p->value[name] = size == 8 ? *(const uint64_t *)value : *(const uint32_t *)value;
    return CUBLAS_STATUS_SUCCESS;
}

static uint64_t digest_of(cublasLtMatmulDesc_t d, const cublasLtMatrixLayout_t *layouts)
{
    uint64_t digest = 0xcbf29ce484222325u;
    auto add = [&](uint64_t x) { digest = (digest ^ x) * 0x100000001b3u; };
    add(d->a), add(d->b);
    for (int i = 0; i < 4; i++)
        add(layouts[i]->type), add(layouts[i]->rows), add(layouts[i]->cols),
            add((uint64_t)layouts[i]->ld);
    return digest;
}

static uint64_t height(cublasLtMatrixLayout_t l, cublasOperation_t op)
{
    return op == CUBLAS_OP_T ? l->cols : l->rows;
}
static uint64_t width(cublasLtMatrixLayout_t l, cublasOperation_t op)
{
    return op == CUBLAS_OP_T ? l->rows : l->cols;
}

static size_t bytes_of(cublasLtMatrixLayout_t l)
{
    return l->type == CUDA_R_32F ? 4 : l->type == CUDA_R_8F_E4M3 ? 1 : sizeof(elem);
}

static double value_at(const void *mem, cublasLtMatrixLayout_t l, size_t i)
{
    if (l->type == CUDA_R_8F_E4M3) return (double)fp8_to_float(((const uint8_t *)mem)[i]);
    return l->type == CUDA_R_32F ? (double)((const float *)mem)[i]
                                 : (double)widen(((const elem *)mem)[i]);
}

/* What the library demands of products in fp8 on the GPUs 8.9 and 9.0: the format TN, and rows that
 * begin at multiples of 16 bytes. */
static bool is_possible_in_fp8(cublasLtMatmulDesc_t d, const cublasLtMatrixLayout_t *l)
{
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    for (int i = 0; i < 4; i++)
        if (l[i]->ld * (int64_t)bytes_of(l[i]) % 16) return false;
    return 10 * major + minor >= 89 && d->a == CUBLAS_OP_T && d->b == CUBLAS_OP_N &&
           l[0]->rows % 16 == 0 && l[0]->cols % 16 == 0 && l[2]->type != CUDA_R_8F_E4M3;
}

static bool is_possible(cublasLtMatmulDesc_t d, const cublasLtMatrixLayout_t *l)
{
    for (int i = 0; i < 4; i++)
        if (l[i]->ld < (int64_t)l[i]->rows) return false;
    if (l[0]->type == CUDA_R_8F_E4M3 && !is_possible_in_fp8(d, l)) return false;
    bool is_plain = l[0]->type != CUDA_R_32F || sizeof(elem) == 4;
    return is_plain && l[0]->type == l[1]->type && l[2]->type == l[3]->type &&
           l[2]->rows == l[3]->rows && l[2]->cols == l[3]->cols &&
           height(l[0], d->a) == l[3]->rows && width(l[1], d->b) == l[3]->cols &&
           width(l[0], d->a) == height(l[1], d->b);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t p, int asked,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    cublasLtMatrixLayout_t layouts[] = { a, b, c, out };
    *found = 0;
    if (asked < 1 || !is_possible(d, layouts)) return CUBLAS_STATUS_INVALID_VALUE;
    cublasLtMatmulAlgo_t *algo = &results->algo;
    algo->made_for = digest_of(d, layouts);
    algo->workspace = p->value[CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES];
    /* As in the library, an alignment that is not set is 256. */
    for (int i = 0; i < 4; i++) {
        auto at = p->value.find(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i);
        algo->alignment[i] = at == p->value.end() ? 256 : (uint32_t)at->second;
    }
    /* Split-k sums are allowed only in the type of the accumulator and in a fixed order. */
    uint64_t schemes = p->value[CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK];
    if (schemes & ~(uint64_t)CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)
        return CUBLAS_STATUS_INVALID_VALUE;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* Converts an operand to double. Its rows or its columns lie one after the other. */
static std::vector<double> widened(const void *mem, cublasLtMatrixLayout_t l, bool by_columns)
{
    std::vector<double> wide((size_t)(l->rows * l->cols));
    size_t bytes = bytes_of(l);
    for (uint64_t col = 0; col < l->cols; col++) {
        size_t first = (size_t)col * (size_t)l->ld;
        emulated_read((const char *)mem + first * bytes, (size_t)l->rows * bytes);
        for (uint64_t row = 0; row < l->rows; row++)
            wide[by_columns ? col * l->rows + row : row * l->cols + col] =
                value_at(mem, l, first + row);
    }
    return wide;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *out,
                              cublasLtMatrixLayout_t out_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, int)
{
    cublasLtMatrixLayout_t layouts[] = { a_layout, b_layout, c_layout, out_layout };
    const void *mats[] = { a, b, c, out };
    if (algo->made_for != digest_of(d, layouts)) return CUBLAS_STATUS_INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)mats[i] % algo->alignment[i]) return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_bytes < algo->workspace || (uintptr_t)workspace % 256)
        return CUBLAS_STATUS_INVALID_VALUE;
    emulated_access access;
    emulated_queue();
    double times = (double)*(const float *)alpha, plus = (double)*(const float *)beta;
    uint64_t inner = width(a_layout, d->a), rows = out_layout->rows;
    size_t bytes = bytes_of(out_layout);
    /* The operands are [inner, rows] and [columns, inner]. All sums of a row grow together, each in
     * its own order. */
    std::vector<double> left = widened(a, a_layout, d->a != CUBLAS_OP_T);
    std::vector<double> right = widened(b, b_layout, d->b != CUBLAS_OP_T);
    std::vector<double> sums(rows);
    std::vector<float> wide(rows);
    std::vector<elem> rounded(rows);
    for (uint64_t col = 0; col < out_layout->cols; col++) {
        size_t first = (size_t)col * (size_t)out_layout->ld;
        std::fill(sums.begin(), sums.end(), 0);
        for (uint64_t k = 0; k < inner; k++)
            for (uint64_t row = 0; row < rows; row++)
                sums[row] += left[k * rows + row] * right[col * inner + k];
        for (uint64_t row = 0; row < rows; row++) {
            double sum = times * sums[row];
            size_t at = (size_t)row + (size_t)col * (size_t)c_layout->ld;
            if (plus != 0) sum += plus * value_at(c, c_layout, at);
            wide[row] = (float)sum;
            rounded[row] = narrow(wide[row]);
        }
        emulated_write((char *)out + first * bytes,
                       out_layout->type == CUDA_R_32F ? (const void *)wide.data() : rounded.data(),
                       (size_t)rows * bytes);
    }
    return CUBLAS_STATUS_SUCCESS;
}
