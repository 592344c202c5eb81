#include "device.cuh"

#ifdef ELEM_F32
#define ACT_NAME "f32"
#define ACT_TYPE WEIGHT_F32
#elif defined(ELEM_F16)
#define ACT_NAME "f16"
#define ACT_TYPE WEIGHT_F16
#else
#define ACT_NAME "bf16"
#define ACT_TYPE WEIGHT_BF16
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
    .chunk_rows = CUDA_CHUNK_ROWS,
    .read_rows = CUDA_READ_ROWS,
    .probe = cuda_probe,
    .available = cuda_available,
    .open = cuda_open,
    .close = cuda_close,
    .plan = cuda_plan,
    .reserve = cuda_reserve,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .zero = cuda_zero,
    .sync = cuda_sync,
    .alloc_host = cuda_alloc_host,
    .release_host = cuda_release_host,
    .copy_out = cuda_copy_out,
    .copy_in = cuda_copy_in,
    .copy_wait = cuda_copy_wait,
    .range_begin = cuda_range_begin,
    .range_end = cuda_range_end,
    .cast_in = cast_in,
    .cast_out = cast_out,
    .copy_rows = copy_rows,
    .embedding_fwd = embedding_fwd,
    .embedding_bwd = embedding_bwd,
    .rmsnorm_fwd = rmsnorm_fwd,
    .rmsnorm_bwd = rmsnorm_bwd,
    .rope_apply = rope_apply,
    .linear_prepare = linear_prepare,
    .linear_inner = linear_inner,
    .linear_fwd = linear_fwd,
    .linear_bwd_input = linear_bwd_input,
    .linear_bwd_weight = linear_bwd_weight,
    .dropout_mask = dropout_mask,
    .attention_fwd = attention_fwd,
    .attention_bwd = attention_bwd,
    .cache_rows = cache_rows,
    .attention_cached = attention_cached,
    .swiglu_fwd = swiglu_fwd,
    .swiglu_bwd = swiglu_bwd,
    .head_loss = head_loss,
    .head_logits = head_logits,
    .sum_squares = sum_squares,
    .adamw = adamw,
    .finite_check = finite_check,
    .widen = widen,
    .narrow_sum = narrow_sum,
    .nf4_codes = nf4_codes,
    .nf4_offset = nf4_offset,
    .nf4_nest = nf4_nest,
    .nf4_error = nf4_error,
    .nf4_dequantize = nf4_dequantize,
};
