#include "kernels/cuda/device.cuh"

#ifdef ELEM_F32
#define ACT_NAME "f32"
#define ACT_TYPE DTYPE_F32
#elif defined(ELEM_F16)
#define ACT_NAME "f16"
#define ACT_TYPE DTYPE_F16
#else
#define ACT_NAME "bf16"
#define ACT_TYPE DTYPE_BF16
#endif

extern "C" __attribute__((visibility("default"))) const struct kernels kernels_cuda = {
    .version = KERNELS_VERSION,
    .size = sizeof(struct kernels),
    .name = "cuda",
    .act_name = ACT_NAME,
    .act_type = ACT_TYPE,
    .cache_type = ACT_TYPE,
    .act_bytes = sizeof(elem),
    .is_host = false,
    .head_dim_max = CUDA_HEAD_DIM,
    .chunk_rows = CUDA_CHUNK_ROWS,
    .read_rows = CUDA_READ_ROWS,
    .attention_margin = 0, /* a GPU adds no rows */
    KERNELS_FUNCTIONS,
};
