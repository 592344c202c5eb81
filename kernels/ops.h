/* ops.h - the functions that every backend has, once for kernels/cpu and kernels/cuda.
 *
 * kernels.h says what each of them does. A section below is a family of operations; cpu/ and cuda/
 * have a file of its name. To add an operation, add its pointer to struct kernels. Add its
 * prototype and its line in KERNELS_FUNCTIONS to this file, and its function to both folders. A
 * backend is linked by itself and exports nothing but its table, so both backends use the same
 * names.
 */
#ifndef LONGQLORA_OPS_H
#define LONGQLORA_OPS_H

#include "kernels/kernels.h"

/* ---- device ---- */
int device_count(void);
void device_choose(int number);
int device_probe(struct fail *why);
int device_probe_fp8(struct fail *why);
void device_describe(struct device_facts *facts);
uint64_t device_available(void);
int device_open(struct device **dev, int threads, struct fail *why);
void device_close(struct device *dev);
size_t device_plan(const struct shape *shape, int threads);
int device_reserve(struct device *dev, const struct shape *shape, struct fail *why);
int device_alloc(struct device *dev, void **mem, size_t bytes, struct fail *why);
void device_release(struct device *dev, void *mem, size_t bytes);
void device_upload(struct device *dev, void *to, const void *from_host, size_t bytes);
void device_download(struct device *dev, void *to_host, const void *from, size_t bytes);
void device_zero(struct device *dev, void *mem, size_t bytes);
int device_sync(struct device *dev, struct fail *why);
int device_alloc_host(struct device *dev, void **mem, size_t bytes, struct fail *why);
void device_release_host(struct device *dev, void *mem, size_t bytes);
void device_copy_out(struct device *dev, void *to_host, const void *from, size_t bytes, int ticket);
void device_copy_in(struct device *dev, void *to, const void *from_host, size_t bytes, int ticket);
void device_copy_wait(struct device *dev, int ticket);

/* ---- messages ---- */
int messages_find(char name[MESSAGES_NAME], struct fail *why);
int messages_id(char id[MESSAGES_ID], struct fail *why);
int messages_open(const char id[MESSAGES_ID], int rank, int count, struct fail *why);
int messages_begin(struct device *dev, int ticket, const struct device_message *list, int count,
                   struct fail *why);
int messages_ready(struct fail *why);
int messages_test(int ticket, struct fail *why);
void messages_close(void);

/* ---- profiler ---- */
void device_range_begin(const char *name);
void device_range_end(void);

/* ---- copy ---- */
void cast_in(struct device *dev, struct mat out, const float *in, int64_t rows, int64_t cols);
void cast_out(struct device *dev, float *out, struct mat in, int64_t rows, int64_t cols);
void copy_rows(struct device *dev, struct mat out, struct mat in, int64_t rows, int64_t cols);

/* ---- scale ---- */
void scale_add(struct device *dev, struct mat out, struct mat residual, struct mat x, float scale,
               int64_t rows, int64_t cols);

/* ---- embedding ---- */
void embedding_fwd(struct device *dev, struct mat x, const void *table, enum dtype type,
                   const int32_t *id, int64_t rows, int64_t dim);
void embedding_bwd(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                   int64_t rows, int64_t dim);

/* ---- rmsnorm ---- */
void rmsnorm_fwd(struct device *dev, struct mat y, float *rstd, struct mat x, const float *gain,
                 int64_t rows, int64_t dim, float eps);
void rmsnorm_bwd(struct device *dev, struct mat dx_acc, float *dgain_acc, struct mat dy,
                 struct mat x, const float *rstd, const float *gain, int64_t rows, int64_t dim);
void rmsnorm_add(struct device *dev, struct mat y, struct mat x, struct mat residual,
                 const float *gain, int64_t rows, int64_t dim, float eps);
void rmsnorm_heads_fwd(struct device *dev, struct mat y, struct mat x, const float *gain,
                       int64_t rows, int64_t heads, int64_t head_dim, float eps);
void rmsnorm_heads_bwd(struct device *dev, struct mat dx, float *dgain_acc, struct mat dy,
                       struct mat x, const float *gain, int64_t rows, int64_t heads,
                       int64_t head_dim, float eps);

/* ---- rope ---- */
void rope_apply(struct device *dev, struct mat out, struct mat x, const float *cos,
                const float *sin, const int32_t *position, int64_t rows, int64_t heads,
                int64_t head_dim, int64_t rotary_dim, int direction);

/* ---- linear ---- */
void linear_prepare(struct device *dev, const struct group *g);
void lora_down(struct device *dev, struct mat x, const struct group *g, int64_t rows,
               struct dropout drop);
void linear_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows, struct dropout drop);
void linear_bwd_input(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                      const struct group *g, int64_t rows, struct dropout drop);
void lora_bwd_input(struct device *dev, struct mat dx_acc, struct mat du, const struct group *g,
                    int64_t rows, struct dropout drop);
void linear_bwd_weight(struct device *dev, const struct group *g, const struct mat *dy,
                       struct mat du, struct mat x, int64_t rows, struct dropout drop);

/* ---- dropout ---- */
void dropout_mask(struct device *dev, uint8_t *keep, uint32_t dropout_stream, int64_t rows,
                  int64_t dim, struct dropout drop);

/* ---- attention ---- */
void attention_fwd(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                   struct mat v, struct attention_starts starts, int64_t rows, int64_t heads,
                   int64_t kv_heads, int64_t head_dim, float scale);
void attention_bwd(struct device *dev, struct mat dq, struct mat dk, struct mat dv, struct mat dout,
                   struct mat o, const float *lse, struct mat q, struct mat k, struct mat v,
                   struct attention_starts starts, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale);
void attention_extent(struct attention_starts starts, int64_t rows, int64_t *first, int64_t *end);

/* ---- attention_decode ---- */
void cache_rows(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                int64_t rows);
void attention_decode(struct device *dev, struct mat o, float *lse, struct mat q,
                      const struct cache *cache, struct attention_starts starts, int64_t past,
                      int64_t rows, int64_t heads, float scale);

/* ---- swiglu ---- */
void swiglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
                int64_t cols);
void swiglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
                int64_t cols);
void geglu_fwd(struct device *dev, struct mat s, struct mat gate, struct mat up, int64_t rows,
               int64_t cols);
void geglu_bwd(struct device *dev, struct mat ds, struct mat gate, struct mat up, int64_t rows,
               int64_t cols);

/* ---- head ---- */
void head_loss(struct device *dev, float *nll, struct mat dx, struct mat du, float *dweight_acc,
               struct mat x, const struct linear *head, float logit_scale, const int32_t *target,
               int64_t rows, float dscale);
void head_logits(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows);

/* ---- adamw ---- */
void sum_squares(struct device *dev, double *sum, const float *g, int64_t count);
void square_pieces(struct device *dev, double *squares, const float *g, int64_t count);
void fold(struct device *dev, float *g_acc, const float *g, int64_t count);
void adamw(struct device *dev, float *p, float *m, float *v, float *g, int64_t count, float lr,
           float beta1, float beta2, float eps, float decay, int64_t step, float gscale);

/* ---- device ---- */
void finite_check(struct device *dev, const char *name, struct mat x, int64_t rows, int64_t cols);

/* ---- convert ---- */
void widen(struct device *dev, float *out, const void *in, enum dtype type, int64_t count);
void narrow_sum(struct device *dev, void *out, enum dtype type, const float *a, float scale,
                const float *b, int64_t count);

/* ---- nf4 ---- */
void nf4_codes(struct device *dev, uint8_t *codes, float *absmax, const void *x, enum dtype type,
               int64_t count);
void nf4_offset(struct device *dev, float *offset, const float *absmax, int64_t blocks);
void nf4_nest(struct device *dev, uint8_t *absmax, float *absmax_scale, const float *absmax_f32,
              float offset, int64_t blocks);
void nf4_error(struct device *dev, struct nf4_error *error, const void *x, enum dtype type,
               const uint8_t *codes, const uint8_t *absmax, const float *absmax_scale, float offset,
               int64_t count);
void nf4_dequantize(struct device *dev, float *x, const uint8_t *codes, const uint8_t *absmax,
                    const float *absmax_scale, float offset, int64_t count);

/* The functions of a backend's table, in the order of struct kernels. */
/* clang-format off */
#define KERNELS_FUNCTIONS \
    .count = device_count, \
    .choose = device_choose, \
    .probe = device_probe, \
    .probe_fp8 = device_probe_fp8, \
    .describe = device_describe, \
    .available = device_available, \
    .open = device_open, \
    .close = device_close, \
    .plan = device_plan, \
    .reserve = device_reserve, \
    .alloc = device_alloc, \
    .release = device_release, \
    .upload = device_upload, \
    .download = device_download, \
    .zero = device_zero, \
    .sync = device_sync, \
    .alloc_host = device_alloc_host, \
    .release_host = device_release_host, \
    .copy_out = device_copy_out, \
    .copy_in = device_copy_in, \
    .copy_wait = device_copy_wait, \
    .messages_find = messages_find, \
    .messages_id = messages_id, \
    .messages_open = messages_open, \
    .messages_begin = messages_begin, \
    .messages_ready = messages_ready, \
    .messages_test = messages_test, \
    .messages_close = messages_close, \
    .range_begin = device_range_begin, \
    .range_end = device_range_end, \
    .cast_in = cast_in, \
    .cast_out = cast_out, \
    .copy_rows = copy_rows, \
    .scale_add = scale_add, \
    .embedding_fwd = embedding_fwd, \
    .embedding_bwd = embedding_bwd, \
    .rmsnorm_fwd = rmsnorm_fwd, \
    .rmsnorm_bwd = rmsnorm_bwd, \
    .rmsnorm_add = rmsnorm_add, \
    .rmsnorm_heads_fwd = rmsnorm_heads_fwd, \
    .rmsnorm_heads_bwd = rmsnorm_heads_bwd, \
    .rope_apply = rope_apply, \
    .linear_prepare = linear_prepare, \
    .lora_down = lora_down, \
    .linear_fwd = linear_fwd, \
    .linear_bwd_input = linear_bwd_input, \
    .linear_bwd_weight = linear_bwd_weight, \
    .lora_bwd_input = lora_bwd_input, \
    .dropout_mask = dropout_mask, \
    .attention_fwd = attention_fwd, \
    .attention_bwd = attention_bwd, \
    .attention_extent = attention_extent, \
    .cache_rows = cache_rows, \
    .attention_decode = attention_decode, \
    .swiglu_fwd = swiglu_fwd, \
    .swiglu_bwd = swiglu_bwd, \
    .geglu_fwd = geglu_fwd, \
    .geglu_bwd = geglu_bwd, \
    .head_loss = head_loss, \
    .head_logits = head_logits, \
    .sum_squares = sum_squares, \
    .square_pieces = square_pieces, \
    .fold = fold, \
    .adamw = adamw, \
    .finite_check = finite_check, \
    .widen = widen, \
    .narrow_sum = narrow_sum, \
    .nf4_codes = nf4_codes, \
    .nf4_offset = nf4_offset, \
    .nf4_nest = nf4_nest, \
    .nf4_error = nf4_error, \
    .nf4_dequantize = nf4_dequantize
/* clang-format on */

#endif
