/* The embedding: rows of a table of f32, bf16 or f16, looked up by token. */
#include "kernels/cuda/rowwise.cuh"

template <int N>
KERNEL(THREADS, 1)
embedding_fwd_kernel(elem *x, int64_t stride, const float *table, const int32_t *id, int64_t dim)
{
    int64_t row = blockIdx.x;
    const float *from = table + id[row] * dim;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p;
        load(p, from + i);
        store(x + row * stride + i, p);
    }
}

template <int N>
KERNEL(THREADS, 1)
embedding_half_kernel(elem *x, int64_t stride, const uint16_t *table, bool is_bf16,
                      const int32_t *id, int64_t dim)
{
    int64_t row = blockIdx.x;
    for (int64_t i = threadIdx.x * N; i < dim; i += THREADS * N) {
        pack<N> p;
        load_halves(p, table + id[row] * dim + i, is_bf16);
        store(x + row * stride + i, p);
    }
}

void embedding_fwd(struct device *dev, struct mat x, const void *table, enum dtype type,
                   const int32_t *id, int64_t rows, int64_t dim)
{
    if (type == DTYPE_F32) {
        LAUNCH_ROWS(mat_is_wide(x, dim) && is_wide(table, dim, dim, 4), embedding_fwd_kernel, rows,
                    elems(x), x.stride, (const float *)table, id, dim);
        return;
    }
    must(type == DTYPE_BF16 || type == DTYPE_F16);
    LAUNCH_ROWS(mat_is_wide(x, dim) && is_wide(table, dim, dim, 2), embedding_half_kernel, rows,
                elems(x), x.stride, (const uint16_t *)table, type == DTYPE_BF16, id, dim);
}

/* A thread has one column and goes over the rows in order, so that sums have one order even if an
 * id occurs twice. */
KERNEL(THREADS, 1)
embedding_bwd_kernel(float *dtable, const elem *dx, int64_t stride, const int32_t *id, int64_t rows,
                     int64_t dim)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= dim) return;
    for (int64_t t = 0; t < rows; t++)
        dtable[id[t] * dim + i] += widen(dx[t * stride + i]);
}

void embedding_bwd(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                   int64_t rows, int64_t dim)
{
    LAUNCH(embedding_bwd_kernel, dim3((unsigned)ceil_div(dim, THREADS)), dim3(THREADS), 0,
           dev->stream, dtable_acc, elems(dx), dx.stride, id, rows, dim);
    launched(dev, __func__);
}
