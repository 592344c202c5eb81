#include "kernels/cpu/cpu.h"

/* The Makefile names the table for its level: kernels_cpu_baseline, _v3, _v4, _bf16. */
const struct kernels KERNELS_CPU = {
    .version = KERNELS_VERSION,
    .size = sizeof(struct kernels),
    .name = "cpu",
#if defined(GEMM_BF16)
    .act_name = "f32, products in bf16",
#else
    .act_name = "f32",
#endif
    .act_type = DTYPE_F32,
    .cache_type = DTYPE_F16,
    .act_bytes = 4,
    .is_host = true,
    /* With 512 rows, a thread's share of the wide activations stays in the second-level cache. */
    .chunk_rows = 512,
    .read_rows = 512,
    .attention_margin = ATTENTION_MARGIN,
    KERNELS_FUNCTIONS,
};
