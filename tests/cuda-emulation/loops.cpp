/* What stands in the emulation for CUDA's libraries: for cuBLASLt the same products by plain loops, for
 * NVTX a count of the open ranges. */
#include "../../kernels/cuda/cuda.cuh"

int product_open(struct device *, struct fail *) { return 0; }
void product_close(struct device *) {}

void product(struct device *, const struct product *p)
{
    emulated_access access;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < p->k; k++)
                sum += (double)widen(p->a[p->a_transposed ? k * p->lda + i : i * p->lda + k]) *
                       (double)widen(p->b[p->b_transposed ? j * p->ldb + k : k * p->ldb + j]);
            sum *= (double)p->alpha;
            float *wide = (float *)p->d + i * p->ldd + j;
            elem *own = (elem *)p->d + i * p->ldd + j;
            if (p->beta != 0)
                sum += (double)p->beta *
                       (double)(p->is_f32 ? ((const float *)p->c)[i * p->ldc + j]
                                          : widen(((const elem *)p->c)[i * p->ldc + j]));
            if (p->is_f32) {
                float out = (float)sum;
                cudaMemcpyAsync(wide, &out, sizeof out, cudaMemcpyDefault, 0);
            } else {
                elem rounded = narrow((float)sum);
                cudaMemcpyAsync(own, &rounded, sizeof rounded, cudaMemcpyDefault, 0);
            }
        }
}

static struct ranges {
    int open;
    ~ranges()
    {
        if (!open) return;
        fprintf(stderr, "emulation: %d ranges begun and not ended\n", open);
        _Exit(3);
    }
} ranges;

void cuda_range_begin(const char *) { ranges.open++; }
void cuda_range_end(void) { ranges.open--; }
