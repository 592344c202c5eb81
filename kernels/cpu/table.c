#include "cpu.h"

/* Named for the level of the instruction set: kernels_cpu_baseline, _v3, _v4. */
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
    .chunk_rows = 512, /* of a thread's share the wide activations stay in the second-level cache */
    .read_rows = 512,
    KERNELS_FUNCTIONS,
};
