#include "lib/llama/weights_gguf.h"

#include "lib/common/file.h"
#include "lib/common/pool.h"
#include "lib/common/program.h"
#include "lib/llama/gguf_model.h"
#include "lib/tokenizer/gguf_tokenizer.h"

#include <fnmatch.h>

/* ---- rows ---- */

static enum dtype dtype_of(enum ggml_type type)
{
    return type == GGML_F16 ? DTYPE_F16 : type == GGML_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

/* Are the tensor's values held in f32? They are if the file quantizes them, or stores 1 +
 * weight. */
static bool is_widened(const struct packed_rows *p)
{
    return ggml_is_quantized(p->type) || p->has_one;
}

/* Writes rows [first, first + count) in the order of transformers. */
static void read_rows(const struct packed_rows *p, int64_t cols, int64_t first, int64_t count,
                      char *to)
{
    size_t stored = ggml_row_bytes(p->type, cols);
    bool widens = is_widened(p);
    size_t each = widens ? (size_t)cols * sizeof(float) : stored;
    for (int64_t i = 0; i < count; i++, to += each) {
        int64_t row = first + i;
        if (p->interleaved) row = gguf_interleaved_row(row, p->interleaved);
        const char *from = (const char *)p->data + (size_t)row * stored;
        if (widens)
            ggml_widen(p->type, from, (float *)(void *)to, cols);
        else
            memcpy(to, from, stored);
        for (int64_t c = 0; p->has_one && c < cols; c++)
            ((float *)(void *)to)[c] -= 1;
    }
}

const void *weights_rows(const struct weights *w, int64_t i, int64_t first, int64_t count,
                         void *buffer)
{
    const struct weight *at = &w->at[i];
    int64_t cols = w->table[i].cols;
    must(at->type != DTYPE_NF4);
    if (at->data) return (const char *)at->data + (size_t)(first * cols) * dtype_size(at->type);
    read_rows(at->packed, cols, first, count, buffer);
    return buffer;
}

bool weight_is_widened(const struct weight *w)
{
    return w->packed && ggml_is_quantized(w->packed->type);
}

void weights_advise_memory(const struct weights *w, char *text, size_t size)
{
    /* An opened GGUF has a map. The outline of a GGUF that a check gets has no map, and its
     * is_mapped is false. */
    bool is_gguf = !w->is_quantized && (w->gguf.map || !w->is_mapped), is_f32 = false;
    for (int64_t i = 0; i < w->count; i++)
        is_f32 |= w->table[i].role == ROLE_LINEAR && w->at[i].type == DTYPE_F32;
    *text = 0;
    if (is_gguf && is_f32)
        snprintf(text, size,
                 "; a GGUF's weights are held in f32: %s makes NF4 of them, which takes an eighth",
                 program_of("quantize"));
}

/* A tensor whose rows all threads convert together: widened to f32, or only put in order. Each task
 * converts some of the rows. */
struct widening {
    const struct packed_rows *packed;
    int64_t rows, cols, each;
    char *to;
};

static void widen_piece(void *arg, int64_t task, int worker)
{
    const struct widening *all = arg;
    int64_t first = task * all->each, left = all->rows - first;
    enum dtype type = is_widened(all->packed) ? DTYPE_F32 : dtype_of(all->packed->type);
    size_t row = (size_t)all->cols * dtype_size(type);
    (void)worker;
    read_rows(all->packed, all->cols, first, left < all->each ? left : all->each,
              all->to + (size_t)first * row);
}

static int widen_tensor(struct weights *w, int64_t i, struct pool *pool, struct fail *why)
{
    enum { PIECE = 1 << 18 };
    const struct tensor *t = &w->table[i];
    struct widening all = { w->at[i].packed, t->rows, t->cols, PIECE / t->cols + 1, NULL };
    all.to = weights_alloc(w, weight_bytes(&w->at[i], t), why);
    if (!all.to) return -1;
    pool_run(pool, (t->rows + all.each - 1) / all.each, widen_piece, &all);
    w->at[i].data = all.to;
    return 0;
}

int weights_widen(struct weights *w, struct fail *why)
{
    struct pool *pool;
    if (pool_open(&pool, 0, why)) return -1;
    int status = 0;
    for (int64_t i = 0; i < w->count && !status; i++)
        if (!w->at[i].data) status = widen_tensor(w, i, pool, why);
    pool_close(pool);
    return status;
}

/* ---- tensors ---- */

static int name_missing(const struct weights *w, const struct tensor *t, const char *name,
                        struct fail *why)
{
    char fused[40], split[40];
    const char *hint = "";
    snprintf(fused, sizeof fused, "blk.%lld.attn_qkv.weight", (long long)t->layer);
    snprintf(split, sizeof split, "blk.%lld.attn_q.weight", (long long)t->layer);
    if (t->role == ROLE_BIAS)
        hint = "; some linear layers of this kind have biases and some have none, which is not "
               "supported";
    else if (t->part == PART_QKV && gguf_tensor(&w->gguf, split))
        hint = "; q, k and v in three tensors are not supported for this architecture";
    else if (gguf_tensor(&w->gguf, fused))
        hint = "; q, k and v in one tensor (attn_qkv) are not supported: convert the model without "
               "--fuse-qkv";
    return fail_input(why, "tensor %s (%s) is missing%s", name, t->name, hint);
}

static int read_tensor(struct weights *w, int64_t i, const struct gguf_architecture *a,
                       struct fail *why)
{
    const struct tensor *t = &w->table[i];
    char name[GGUF_NAME_MAX + 1], shape[128];
    if (!gguf_tensor_name(a, t->name, name, sizeof name))
        return fail_input(why, "llama.cpp's %s has no tensor for %s", a->name, t->name);
    const struct gguf_tensor *s = gguf_tensor(&w->gguf, name);
    if (!s) return name_missing(w, t, name, why);
    int64_t cols = s->dims == 2 ? s->shape[1] : 1;
    if (s->dims < 1 || s->dims > 2 || s->shape[0] != t->rows || cols != t->cols) {
        gguf_tensor_describe(s, shape, sizeof shape);
        return fail_input(why, "%s is %s, but [%lld, %lld] is needed", name, shape,
                          (long long)t->rows, (long long)t->cols);
    }
    bool is_vector = t->cols == 1, is_quantized = ggml_is_quantized(s->type);
    bool has_one = a->norms_add_one && t->role == ROLE_NORM;
    if (is_vector && is_quantized)
        return fail_input(why, "%s is %s, but a vector is stored in f32, f16 or bf16", name,
                          ggml_format(s->type)->name);
    int64_t head_dim = a->interleaves && gguf_is_rotated(t->name) ? w->config.head_dim : 0;
    enum dtype type = has_one ? DTYPE_F32 : dtype_of(s->type);
    w->at[i] = (struct weight){ .type = type, .data = s->data };
    if (!is_quantized && !head_dim && !has_one) return 0;
    w->packed[i] = (struct packed_rows){ s->type, s->data, head_dim, has_one };
    w->at[i].packed = &w->packed[i];
    w->at[i].data = NULL;
    return 0;
}

static const struct {
    const char *pattern, *hint;
} hints[] = {
    { "*.bias", "; a bias is supported only if all linear layers of its kind have one, and only in "
                "some architectures" },
    { "*_exps.*", "; mixtures of experts are not supported" },
    { "*ffn_gate_inp*", "; mixtures of experts are not supported" },
    { "rope_factors_*", "; longrope positions are not supported" },
    { "*_q_norm.*", "; this architecture has no QK norm" },
    { "*_k_norm.*", "; this architecture has no QK norm" },
    { "*attn_qkv.*", "; q, k and v in one tensor are not supported" },
    { "cls*", "; classification heads are not supported" },
    { "*.scale", "; scaled weights are not supported" },
    { "*.lora_*", "; an adapter: merge it first" },
    { "v.*", "; models of several parts, such as text and images, are not supported" },
    { "mm.*", "; models of several parts, such as text and images, are not supported" },
};

static int refuse_unused(const char *name, struct fail *why)
{
    const char *hint = "";
    for (size_t i = 0; i < sizeof hints / sizeof *hints && !*hint; i++)
        if (!fnmatch(hints[i].pattern, name, 0)) hint = hints[i].hint;
    return fail_input(why, "tensor %s is not one of this model%s", name, hint);
}

/* Does gguf_model_config read this tensor of position scaling? */
static bool is_factors(const struct gguf_architecture *a, const char *name)
{
    if (!strcmp(name, GGUF_ROPE_FREQS)) return a->has_factors;
    return a->has_longrope &&
           (!strcmp(name, GGUF_LONG_FACTORS) || !strcmp(name, GGUF_SHORT_FACTORS));
}

/* Fails if the file has a tensor that a model with these keys does not have. */
static int check_all_used(const struct weights *w, const struct gguf_architecture *a,
                          struct fail *why)
{
    static const char *const factors[] = { GGUF_ROPE_FREQS, GGUF_LONG_FACTORS, GGUF_SHORT_FACTORS };
    size_t used = (size_t)w->count;
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        used += gguf_tensor(&w->gguf, factors[i]) && is_factors(a, factors[i]);
    if (w->gguf.tensor_count == used) return 0;
    for (size_t i = 0; i < w->gguf.tensor_count; i++) {
        const struct gguf_tensor *s = &w->gguf.tensors[i];
        bool is_used = is_factors(a, s->name);
        for (int64_t j = 0; j < w->count && !is_used; j++)
            is_used = s->data == (w->at[j].packed ? w->at[j].packed->data : w->at[j].data);
        if (!is_used) return refuse_unused(s->name, why);
    }
    return 0;
}

/* ---- the file ---- */

bool weights_have_companions(const char *path) { return file_is_folder(path) || gguf_is(path); }

static int read_tensors(struct weights *w, struct fail *why)
{
    const struct gguf_architecture *a = gguf_model_architecture(&w->gguf, why);
    if (!a || weights_list_tensors(w, why)) return -1;
    w->packed = calloc((size_t)w->count, sizeof *w->packed);
    if (!w->packed) return fail(why, "out of memory");
    for (int64_t i = 0; i < w->count; i++)
        if (read_tensor(w, i, a, why)) return -1;
    return check_all_used(w, a, why);
}

int weights_open_gguf(struct weights *w, const char *path, struct fail *why)
{
    if (gguf_open(&w->gguf, path, why) || gguf_model_read_config(&w->config, &w->gguf, path, why))
        return -1;
    if (read_tensors(w, why)) return fail_in(why, path);
    w->bytes = w->gguf.map_bytes;
    w->is_mapped = true;
    return gguf_tokenizer_digest(&w->gguf, w->tokenizer, why);
}
