/* Matrix products by oneDNN's sgemm, which generates code for the CPU at hand. The
 * caller has cut the work into tasks, so each product runs on its own thread. */
#include "cpu.h"

#include <dnnl.h>

extern void omp_set_num_threads(int threads); /* of libgomp, which oneDNN uses */

void product(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, float alpha,
             const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
             int64_t ldc)
{
    static __thread bool is_single;
    if (!is_single) {
        omp_set_num_threads(1); /* a setting of this thread only */
        is_single = true;
    }
    dnnl_status_t status = dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', m, n, k,
                                      alpha, a, lda, b, ldb, beta, c, ldc);
    must(status == dnnl_success);
}
