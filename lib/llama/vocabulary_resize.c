#include "lib/llama/vocabulary_resize.h"

#include "lib/common/bf16.h"
#include "lib/common/program.h"
#include "lib/llama/weights_gguf.h"
#include "lib/tokenizer/grown.h"
#include "lib/tokenizer/tokenizer.h"

#include <unistd.h>

enum { ROWS_MAX = 1 << 24 };

int vocabulary_resize_check(const struct vocabulary_resize *o, struct fail *why)
{
    char path[4096];
    if (!o->tokenizer) {
        if (!o->multiple) return 0;
        return fail_usage(why, "--pad-to-multiple-of is for --resize-vocab DIR");
    }
    if (tokenizer_locate(o->tokenizer, path, sizeof path)) return 0;
    if (access(o->tokenizer, F_OK))
        return fail(why, "--resize-vocab %.300s: it does not exist", o->tokenizer);
    return fail(why,
                "--resize-vocab %.300s: no tokenizer in it: %s --add-token TEXT "
                "--save-tokenizer DIR makes one",
                o->tokenizer, program_of("tokenize"));
}

/* ---- rows ---- */

static float value_of(const void *rows, enum dtype type, size_t i)
{
    uint16_t half;
    float whole;
    if (type == DTYPE_F32) {
        memcpy(&whole, (const char *)rows + 4 * i, sizeof whole);
        return whole;
    }
    memcpy(&half, (const char *)rows + 2 * i, sizeof half);
    return type == DTYPE_BF16 ? bf16_to_float(half) : f16_to_float(half);
}

static void set_value(void *rows, enum dtype type, size_t i, float value)
{
    uint16_t half = type == DTYPE_BF16 ? bf16_from_float(value) : f16_from_float(value);
    if (type == DTYPE_F32)
        memcpy((char *)rows + 4 * i, &value, sizeof value);
    else
        memcpy((char *)rows + 2 * i, &half, sizeof half);
}

/* Copies the tensor's rows to `to`, in the type `type`, and adds each row to sums. */
static int copy_rows(const struct weights *w, int64_t i, enum dtype type, char *to, double *sums,
                     struct fail *why)
{
    enum { AT_ONCE = 64 };
    const struct tensor *t = &w->table[i];
    enum dtype stored = w->at[i].type;
    float *buffer = malloc((size_t)(AT_ONCE * t->cols) * sizeof *buffer);
    if (!buffer) return fail(why, "out of memory");
    for (int64_t first = 0; first < t->rows; first += AT_ONCE) {
        int64_t count = first + AT_ONCE < t->rows ? AT_ONCE : t->rows - first;
        const void *rows = weights_rows(w, i, first, count, buffer);
        for (int64_t j = 0; j < count * t->cols; j++) {
            float value = value_of(rows, stored, (size_t)j);
            set_value(to, type, (size_t)(first * t->cols + j), value);
            sums[j % t->cols] += (double)value;
        }
    }
    free(buffer);
    return 0;
}

/* Extends tensor i to `rows` rows. A tensor that is quantized in a GGUF gets the model's own type,
 * because the new rows are not quantized. */
static int grow_tensor(struct weights *w, int64_t i, int64_t rows, struct fail *why)
{
    struct tensor *t = &w->table[i];
    struct weight *at = &w->at[i];
    enum dtype type = weight_is_widened(at) ? weights_config_type(&w->config) : at->type;
    double *sums = calloc((size_t)t->cols, sizeof *sums);
    char *data = weights_alloc(w, (size_t)(rows * t->cols) * dtype_size(type), why);
    int status = data && sums ? copy_rows(w, i, type, data, sums, why) : fail(why, "out of memory");
    for (int64_t j = t->rows * t->cols; j < rows * t->cols && !status; j++)
        set_value(data, type, (size_t)j, (float)(sums[j % t->cols] / (double)t->rows));
    free(sums);
    if (status) return -1;
    *at = (struct weight){ .type = type, .data = data };
    t->rows = rows;
    return 0;
}

/* ---- the model ---- */

/* Compares the grown tokenizer with the model's own, if the model has one that can be read. */
static int check_grown(const struct tokenizer *grown, const char *model, struct fail *why)
{
    struct tokenizer *own;
    struct fail ignored;
    if (!weights_have_companions(model) || tokenizer_open(&own, model, &ignored)) return 0;
    int status = grown_check_base(grown, own, why);
    tokenizer_close(own);
    return status;
}

static int read_size(const struct vocabulary_resize *o, const char *model, struct weights *w,
                     int64_t *rows, struct fail *why)
{
    struct tokenizer *t;
    if (tokenizer_open(&t, o->tokenizer, why)) return -1;
    if (check_grown(t, model, why)) {
        tokenizer_close(t);
        return -1;
    }
    *rows = tokenizer_vocab(t);
    memcpy(w->tokenizer, tokenizer_digest(t), sizeof w->tokenizer);
    tokenizer_close(t);
    if (*rows < w->config.vocab) *rows = w->config.vocab;
    if (o->multiple) *rows = (*rows + o->multiple - 1) / o->multiple * o->multiple;
    return *rows <= ROWS_MAX ? 0 : fail_input(why, "--resize-vocab: more than 2^24 rows");
}

int vocabulary_resize(struct weights *w, const struct vocabulary_resize *o, const char *model,
                      struct fail *why)
{
    int64_t rows;
    if (!o->tokenizer || read_size(o, model, w, &rows, why)) return o->tokenizer ? -1 : 0;
    if (rows == w->config.vocab) return 0;
    if (w->is_quantized || w->stream[0])
        return fail_input(why,
                          "its linear layers are NF4, and it has %lld rows where %lld are needed: "
                          "name the unquantized model, and give quantize the same --resize-vocab",
                          (long long)w->config.vocab, (long long)rows);
    must(w->count == w->source_count && w->table[0].role == ROLE_EMBEDDING);
    if (grow_tensor(w, 0, rows, why)) return -1;
    for (int64_t i = 1; i < w->count; i++)
        if (w->table[i].role == ROLE_HEAD && grow_tensor(w, i, rows, why)) return -1;
    w->added_rows = rows - w->config.vocab;
    w->config.vocab = rows;
    w->base[0] = 0;
    return json_object_set_new(w->config.json, "vocab_size", json_integer((json_int_t)rows))
               ? fail(why, "out of memory")
               : 0;
}

void vocabulary_resize_describe(const struct weights *w, char *text, size_t size)
{
    long long rows = (long long)w->config.vocab, added = (long long)w->added_rows;
    if (added)
        snprintf(text, size,
                 "vocabulary: %lld rows, the last %lld are new, each the mean of the "
                 "%lld before",
                 rows, added, rows - added);
    else
        snprintf(text, size, "vocabulary: %lld rows, enough for all tokens: none was added", rows);
}
