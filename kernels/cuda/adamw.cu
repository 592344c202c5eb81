/* AdamW, the norm of a gradient and the sum of two gradients, over flat f32. Compiled without fused
 * multiply-add, so that the bits of AdamW and of the sum are those of the CPU. */
#include "kernels/cuda/device.cuh"

#include <cmath>

struct adamw_update {
    float *p, *m, *v, *g;
    int64_t count;
    float beta1, beta2, eps, gscale, step_size, decay_factor, correction2_root;
};

KERNEL(THREADS, 1) adamw_kernel(const adamw_update u)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= u.count) return;
    float d = u.g[i] * u.gscale;
    float mi = u.beta1 * u.m[i] + (1 - u.beta1) * d;
    float vi = u.beta2 * u.v[i] + (1 - u.beta2) * d * d;
    u.m[i] = mi;
    u.v[i] = vi;
    u.p[i] = u.p[i] * u.decay_factor - u.step_size * mi / (sqrtf(vi) / u.correction2_root + u.eps);
    u.g[i] = 0;
}

void adamw(struct device *dev, float *p, float *m, float *v, float *g, int64_t count, float lr,
           float beta1, float beta2, float eps, float decay, int64_t step, float gscale)
{
    must(step > 0);
    if (!count) return;
    double correction1 = 1 - pow((double)beta1, (double)step);
    double correction2 = 1 - pow((double)beta2, (double)step);
    struct adamw_update u = { p,
                              m,
                              v,
                              g,
                              count,
                              beta1,
                              beta2,
                              eps,
                              gscale,
                              (float)((double)lr / correction1),
                              1 - lr * decay,
                              (float)sqrt(correction2) };
    LAUNCH(adamw_kernel, dim3((unsigned)ceil_div(count, THREADS)), dim3(THREADS), 0, dev->stream,
           u);
    launched(dev, __func__);
}

KERNEL(THREADS, 1) squares_kernel(double *sums, const float *g, int64_t count, int64_t size)
{
    SHARED_DYNAMIC(memory);
    int64_t first = blockIdx.x * size, end = first + size < count ? first + size : count;
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += THREADS)
        sum += (double)g[i] * (double)g[i];
    sum = block_sum(sum, (double *)memory);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

void sum_squares(struct device *dev, double *sum, const float *g, int64_t count)
{
    double sums[SUM_PIECES];
    int64_t size = ceil_div(count, SUM_PIECES), tasks = size ? ceil_div(count, size) : 0;
    *sum = 0;
    if (!tasks) return;
    LAUNCH(squares_kernel, dim3((unsigned)tasks), dim3(THREADS), 32 * sizeof(double), dev->stream,
           dev->squares, g, count, size);
    launched(dev, __func__);
    device_download(dev, sums, dev->squares, (size_t)tasks * sizeof *sums);
    for (int64_t i = 0; i < tasks; i++)
        *sum += sums[i];
}

void square_pieces(struct device *dev, double *squares, const float *g, int64_t count)
{
    if (!count) return;
    LAUNCH(squares_kernel, dim3((unsigned)ceil_div(count, SQUARES_PIECE)), dim3(THREADS),
           32 * sizeof(double), dev->stream, squares, g, count, (int64_t)SQUARES_PIECE);
    launched(dev, __func__);
}

KERNEL(THREADS, 1) fold_kernel(float *g_acc, const float *g, int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) g_acc[i] += g[i];
}

void fold(struct device *dev, float *g_acc, const float *g, int64_t count)
{
    if (!count) return;
    LAUNCH(fold_kernel, dim3((unsigned)ceil_div(count, THREADS)), dim3(THREADS), 0, dev->stream,
           g_acc, g, count);
    launched(dev, __func__);
}
