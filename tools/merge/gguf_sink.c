#include "tools/merge/gguf_sink.h"

#include "lib/common/buffer.h"
#include "lib/llama/gguf_names.h"
#include "lib/tensorfile/ggml_quantize.h"
#include "tools/merge/to_gguf.h"

enum { ELEMENTS_OF_TASK = 1 << 15 };

int gguf_sink_open(struct gguf_sink *s, int threads, struct fail *why)
{
    return pool_open(&s->pool, threads, why);
}

void gguf_sink_close(struct gguf_sink *s)
{
    if (s->pool) pool_close(s->pool);
    free(s->converted);
    *s = (struct gguf_sink){ 0 };
}

/* A piece of a tensor that is being converted; the argument of the threads' tasks. */
struct conversion {
    const struct gguf_header *to;
    enum ggml_type from_type;
    const char *from;
    char *converted;
    int64_t rows, cols, rows_of_task;
    int64_t head_dim; /* rows of an attention head, to be reordered; 0: the rows keep their order */
    bool adds_one;
    bool overflows;
};

static bool convert_row(const struct conversion *p, const char *from, char *to)
{
    if (p->adds_one) {
        must(p->from_type == GGML_F32 && p->to->type == GGML_F32);
        for (int64_t i = 0; i < p->cols; i++)
            ((float *)(void *)to)[i] = 1 + ((const float *)(const void *)from)[i];
        return true;
    }
    if (p->from_type == p->to->type) {
        memcpy(to, from, ggml_row_bytes(p->from_type, p->cols));
        return true;
    }
    if (p->from_type == GGML_F32)
        return ggml_narrow(p->to->type, (const float *)(const void *)from, to, p->cols);
    must(p->to->type == GGML_F32);
    ggml_widen(p->from_type, from, (float *)(void *)to, p->cols);
    return true;
}

static void convert_task(void *arg, int64_t task, int worker)
{
    struct conversion *p = arg;
    int64_t first = task * p->rows_of_task, end = first + p->rows_of_task;
    size_t from_bytes = ggml_row_bytes(p->from_type, p->cols);
    size_t to_bytes = ggml_row_bytes(p->to->type, p->cols);
    (void)worker;
    for (int64_t row = first; row < end && row < p->rows; row++) {
        int64_t at = p->head_dim ? gguf_interleaved_row(row, p->head_dim) : row;
        if (!convert_row(p, p->from + (size_t)row * from_bytes,
                         p->converted + (size_t)at * to_bytes))
            __atomic_store_n(&p->overflows, true, __ATOMIC_RELAXED);
    }
}

int gguf_sink_put(void *sink, int64_t index, const void *rows, int64_t count, struct fail *why)
{
    struct gguf_sink *s = sink;
    const struct result *r = s->result;
    bool is_bias = index >= r->count;
    int64_t of = is_bias ? r->biases[index - r->count].index : index;
    const struct gguf_header *to = &s->headers[index];
    struct conversion p = { .to = to,
                            .from_type = to_gguf_plain(r->dtypes[of]),
                            .from = rows,
                            .cols = is_bias ? 1 : r->table[of].cols };
    bool is_rotated = s->head_dim && gguf_is_rotated(r->table[of].name);
    p.adds_one = s->adds_one && r->table[of].role == ROLE_NORM;
    p.rows = count / p.cols;
    p.head_dim = is_rotated ? s->head_dim : 0;
    p.rows_of_task = ELEMENTS_OF_TASK / p.cols + 1;
    size_t bytes = (size_t)p.rows * ggml_row_bytes(to->type, p.cols);
    if (p.from_type == to->type && !is_rotated && !p.adds_one)
        return gguf_put(s->w, rows, bytes, why);
    must(!is_rotated || p.rows % p.head_dim == 0);
    if (buffer_fit(&s->converted, &s->capacity, bytes, why)) return -1;
    p.converted = s->converted;
    pool_run(s->pool, (p.rows + p.rows_of_task - 1) / p.rows_of_task, convert_task, &p);
    if (p.overflows)
        return fail_input(why,
                          "%s: its values are too large for %s, whose scales are f16: --dtype bf16 "
                          "holds them",
                          r->table[of].name, ggml_format(to->type)->name);
    return gguf_put(s->w, s->converted, bytes, why);
}
