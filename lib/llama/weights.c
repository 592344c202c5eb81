#include "lib/llama/weights_gguf.h"

#include "lib/common/buffer.h"
#include "lib/common/clock.h"
#include "lib/common/file.h"
#include "lib/common/nf4.h"
#include "lib/common/size.h"
#include "lib/llama/base_digest.h"
#include "lib/llama/model_place.h"
#include "lib/llama/stored_names.h"
#include "lib/tokenizer/tokenizer.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

size_t weight_bytes(const struct weight *w, const struct tensor *t)
{
    return ((size_t)(t->rows * t->cols) * dtype_bits(w->type) + 7) / 8;
}

size_t weight_absmax_bytes(const struct weight *w, const struct tensor *t)
{
    if (w->type != DTYPE_NF4 || !w->absmax) return 0;
    return (size_t)nf4_block_count(t->rows * t->cols);
}

size_t weight_absmax_scale_bytes(const struct weight *w, const struct tensor *t)
{
    if (w->type != DTYPE_NF4) return 0;
    return (size_t)nf4_scale_count(t->rows * t->cols, w->absmax) * sizeof *w->absmax_scale;
}

/* ---- a directory ---- */

static const char head_name[] = "lm_head.weight", embedding_name[] = "model.embed_tokens.weight";

/* Copies data that are not aligned. Old safetensors files do not pad their header. */
static int align(struct weights *w, const void **data, size_t bytes, size_t unit, struct fail *why)
{
    if ((uintptr_t)*data % unit == 0) return 0;
    if (buffer_extend(&w->copies, w->copy_count, why)) return -1;
    void *copy = malloc(bytes + 1);
    if (!copy) return fail(why, "out of memory");
    memcpy(copy, *data, bytes);
    w->copies[w->copy_count++] = copy;
    w->copied += bytes;
    *data = copy;
    return 0;
}

static int read_quantized(struct weights *w, int64_t i, struct fail *why)
{
    const struct tensor *t = &w->table[i];
    if (t->role != ROLE_LINEAR) return fail_input(why, "%s is NF4, but no linear layer", t->name);
    if (bnb_read(&w->files, t, &w->at[i], why)) return -1;
    const void *scales = w->at[i].absmax_scale;
    size_t count = (size_t)nf4_scale_count(t->rows * t->cols, w->at[i].absmax);
    if (align(w, &scales, count * sizeof(float), sizeof(float), why)) return -1;
    w->at[i].absmax_scale = scales;
    w->is_quantized = true;
    return 0;
}

/* Finds the tensor. A tied head may be stored under its own name or the embedding's. */
static const struct stored_tensor *find_stored(const struct weights *w, const struct tensor *t)
{
    const struct stored_tensor *s = model_files_find(&w->files, t->name);
    if (s || t->part != PART_EMBEDDING || !w->config.is_tied) return s;
    return model_files_find(&w->files, head_name);
}

static int name_missing(const struct weights *w, const struct tensor *t, struct fail *why)
{
    if (t->part == PART_HEAD && w->files.is_headless)
        return fail_input(why,
                          "tensor %s is missing: the model was saved without its head "
                          "(LlamaModel), and the head is not tied",
                          t->name);
    return fail_input(why, "tensor %s is missing%s", t->name, stored_names_hint(&w->files));
}

static int read_stored(struct weights *w, int64_t i, struct fail *why)
{
    const struct tensor *t = &w->table[i];
    const struct stored_tensor *s = find_stored(w, t);
    if (!s) return name_missing(w, t, why);
    if (bnb_is_quantized(&w->files, t->name)) return read_quantized(w, i, why);
    int64_t cols = s->dims == 2 ? s->shape[1] : 1;
    char shape[128];
    stored_tensor_describe(s, shape, sizeof shape);
    if (!dtype_is_float(s->dtype))
        return fail_input(why,
                          "%s is %s: weights are supported in F32, F16 and BF16: save the model in "
                          "one of them (transformers: from_pretrained(…, dtype=torch.bfloat16), "
                          "then save_pretrained)",
                          t->name, shape);
    if (s->dims < 1 || s->dims > 2 || s->shape[0] != t->rows || cols != t->cols)
        return fail_input(why, "%s is %s, but [%lld, %lld] is needed", t->name, shape,
                          (long long)t->rows, (long long)t->cols);
    w->at[i] = (struct weight){ .type = s->dtype, .data = s->data };
    return align(w, &w->at[i].data, s->bytes, dtype_size(s->dtype), why);
}

/* Finds a tensor by name. The tensors of a layer are adjacent, after the embedding. */
static int64_t find_tensor(const struct weights *w, const char *name)
{
    static const char prefix[] = "model.layers.";
    int64_t first = 0, end = w->count;
    if (!strncmp(name, prefix, sizeof prefix - 1)) {
        int64_t each = 0, layer = strtoll(name + sizeof prefix - 1, NULL, 10);
        while (w->table[1 + each].layer == 0)
            each++;
        if (layer < 0 || layer >= w->config.layers) return -1;
        first = 1 + layer * each;
        end = first + each;
    }
    for (int64_t i = first; i < end; i++)
        if (!strcmp(w->table[i].name, name)) return i;
    return -1;
}

/* Has this tensor no effect? Such a tensor is a table of RoPE, stored by old versions of
 * transformers, or a tied head under its own name. */
static bool is_harmless(const struct weights *w, const char *name)
{
    static const char table[] = ".rotary_emb.inv_freq";
    size_t length = strlen(name), suffix = sizeof table - 1;
    if (length > suffix && !strcmp(name + length - suffix, table)) return true;
    return w->config.is_tied && !strcmp(name, head_name);
}

/* Fails if a file has a tensor that does not belong to a model with this config. */
static int check_all_used(const struct weights *w, struct fail *why)
{
    for (size_t f = 0; f < w->files.count; f++)
        for (size_t i = 0; i < w->files.at[f].count; i++) {
            char whole[TENSOR_NAME_MAX + 8];
            const char *stored = w->files.at[f].at[i].name;
            const char *name = model_files_name(&w->files, stored, whole);
            if (is_harmless(w, name) || (w->is_quantized && bnb_is_part(name))) continue;
            if (find_tensor(w, name) < 0)
                return fail_input(why, "tensor %.100s is not one of this model%s", stored,
                                  stored_name_hint(stored));
        }
    return 0;
}

/* If the stored head differs from the stored embedding, the model is not tied, even if the config
 * says that it is. transformers 5 does the same; earlier versions ignore the head. */
static int settle_head(struct weights *w, struct fail *why)
{
    struct config *c = &w->config;
    const struct stored_tensor *head = model_files_find(&w->files, head_name);
    const struct stored_tensor *embedding = model_files_find(&w->files, embedding_name);
    if (!c->is_tied || !head || !embedding || stored_tensor_equal(head, embedding)) return 0;
    c->is_tied = false;
    c->was_tied = true;
    return json_object_set_new(c->json, "tie_word_embeddings", json_false())
               ? fail(why, "out of memory")
               : 0;
}

int weights_list_tensors(struct weights *w, struct fail *why)
{
    w->count = w->source_count = tensors_list(&w->config, &w->table, why);
    if (w->count < 0) return -1;
    w->at = calloc((size_t)w->count, sizeof *w->at);
    return w->at ? 0 : fail(why, "out of memory");
}

/* Returns the digest of the source tensors, which quantize stores in config.json. */
static const char *source_of(const struct weights *w)
{
    const json_t *quantization = json_object_get(w->config.json, "quantization_config");
    const char *base = json_string_value(json_object_get(quantization, BNB_BASE_KEY));
    return base && strlen(base) == STREAM_DIGEST_TEXT - 1 ? base : NULL;
}

static int read_all(struct weights *w, struct fail *why)
{
    for (int64_t i = 0; i < w->count; i++)
        if (read_stored(w, i, why)) return -1;
    return check_all_used(w, why);
}

static int open_directory(struct weights *w, const char *path, bool with_base, struct fail *why)
{
    char tokenizer[4096];
    if (config_read(&w->config, path, why) || model_files_open(&w->files, path, why) ||
        settle_head(w, why) || weights_list_tensors(w, why))
        return -1;
    if (bnb_check_config(w->config.json, why) < 0 || read_all(w, why)) return fail_in(why, path);
    w->bytes = model_files_bytes(&w->files);
    const char *source = w->is_quantized ? source_of(w) : NULL;
    if (source)
        memcpy(w->base, source, sizeof w->base);
    else if (with_base)
        base_digest(w, w->base);
    w->was_read = with_base && !source;
    w->is_mapped = true;
    if (!tokenizer_locate(path, tokenizer, sizeof tokenizer)) return 0;
    return digest_file(tokenizer, w->tokenizer, why);
}

/* ---- a stream ---- */

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Allocates memory that is freed with the weights. Large blocks use huge pages. With small pages,
 * the operating system would need more time to clear the pages than to read the data. */
char *weights_alloc(struct weights *w, size_t bytes, struct fail *why)
{
    enum { HUGE_PAGE = 2 << 20 };
    bool is_large = bytes >= 2 * HUGE_PAGE;
    bool has_place = !buffer_extend(&w->copies, w->copy_count, why);
    char *memory = has_place
                       ? aligned_alloc(is_large ? HUGE_PAGE : 64,
                                       is_large ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE
                                                : padded(bytes))
                       : NULL;
    if (!memory) {
        (void)fail(why, "out of memory: %zu bytes of weights", bytes);
        return NULL;
    }
    if (is_large) madvise(memory, bytes, MADV_HUGEPAGE);
    w->copies[w->copy_count++] = memory;
    w->copied += bytes;
    return memory;
}

static int begin_tensor(struct weights *w, int64_t i, const struct weights_record *r,
                        struct fail *why)
{
    const struct tensor *t = &w->table[i];
    struct weight *at = &w->at[i];
    if (r->rows != t->rows || r->cols != t->cols)
        return fail_input(why, "%s is [%lld, %lld], but the config needs [%lld, %lld]", t->name,
                          (long long)r->rows, (long long)r->cols, (long long)t->rows,
                          (long long)t->cols);
    int64_t elements = t->rows * t->cols;
    for (int type = DTYPE_F32; type <= DTYPE_NF4; type++)
        if (!strcmp(r->dtype, dtype_stream_name((enum dtype)type))) at->type = (enum dtype)type;
    bool is_nf4 = at->type == DTYPE_NF4;
    if (is_nf4 && t->role != ROLE_LINEAR)
        return fail_input(why, "%s is NF4, but no linear layer", t->name);
    size_t absmax = padded(weight_bytes(at, t));
    size_t absmax_scale = absmax + padded(is_nf4 ? (size_t)nf4_block_count(elements) : 0);
    size_t scales = is_nf4 ? (size_t)nf4_nested_block_count(elements) : 0;
    size_t bytes = absmax_scale + scales * sizeof(float);
    char *memory = weights_alloc(w, bytes, why);
    if (!memory) return -1;
    *at = (struct weight){ .type = at->type, .data = memory, .offset = r->offset };
    at->absmax = is_nf4 ? (uint8_t *)memory + absmax : NULL;
    at->absmax_scale = is_nf4 ? (float *)(void *)(memory + absmax_scale) : NULL;
    w->bytes += bytes;
    return 0;
}

/* Reads a record. rows_read[i] is how many rows of tensor i have been read so far. */
static int read_record(struct weights *w, int64_t *rows_read, const struct weights_record *r,
                       struct fail *why)
{
    int64_t i = find_tensor(w, r->name);
    if (i < 0) return fail_input(why, "tensor %s is not one of this model", r->name);
    const struct tensor *t = &w->table[i];
    if (r->first_row != rows_read[i])
        return fail_input(why, "%s: row %lld follows, but row %lld was expected", r->name,
                          (long long)r->first_row, (long long)rows_read[i]);
    if (!rows_read[i] && begin_tensor(w, i, r, why)) return -1;
    const struct weight *at = &w->at[i];
    if (strcmp(r->dtype, dtype_stream_name(at->type)) != 0 || r->offset != at->offset ||
        r->rows != t->rows || r->cols != t->cols)
        return fail_input(why, "%s: its records differ in type, shape or offset", r->name);
    size_t first = (size_t)(r->first_row * r->cols);
    memcpy((char *)at->data + first * dtype_bits(at->type) / 8, r->data, r->data_bytes);
    if (at->type == DTYPE_NF4) {
        memcpy((uint8_t *)at->absmax + first / NF4_BLOCK, r->absmax, r->absmax_bytes);
        memcpy((float *)at->absmax_scale + first / NF4_NESTED, r->absmax_scale,
               r->absmax_scale_bytes);
        w->is_quantized = true;
    }
    rows_read[i] = r->end_row;
    return 0;
}

static int read_records(struct weights *w, struct reader *r, struct fail *why)
{
    struct weights_record record;
    int64_t *rows_read = calloc((size_t)w->count, sizeof *rows_read);
    if (!rows_read) return fail(why, "%s: out of memory", reader_name(r));
    int got;
    while ((got = weights_read(r, &record, why)) > 0)
        if (read_record(w, rows_read, &record, why)) {
            got = reader_fail(r, why);
            break;
        }
    for (int64_t i = 0; i < w->count && !got; i++)
        if (rows_read[i] != w->table[i].rows) {
            (void)fail_input(why, "tensor %s is missing or cut", w->table[i].name);
            got = fail_in(why, reader_name(r));
        }
    free(rows_read);
    return got;
}

enum dtype weights_config_type(const struct config *c)
{
    const char *name = json_string_value(json_object_get(c->json, "dtype"));
    if (!name) name = json_string_value(json_object_get(c->json, "torch_dtype"));
    if (name && !strcmp(name, "float32")) return DTYPE_F32;
    return name && !strcmp(name, "bfloat16") ? DTYPE_BF16 : DTYPE_F16;
}

static int outline_config(struct weights *w, struct fail *why)
{
    if (weights_list_tensors(w, why)) return -1;
    for (int64_t i = 0; i < w->count; i++)
        w->at[i].type = weights_config_type(&w->config);
    return 0;
}

/* Makes an outline: weights without data. as_nf4: linear layers get the type that quantize would
 * give them. */
static void outline_data(struct weights *w, bool as_nf4)
{
    static const char not_there;
    for (int64_t i = 0; i < w->count; i++) {
        enum dtype type = w->at[i].type;
        if (as_nf4 && w->table[i].role == ROLE_LINEAR) type = DTYPE_NF4;
        bool is_nf4 = type == DTYPE_NF4;
        w->at[i] = (struct weight){ .type = type,
                                    .data = &not_there,
                                    .absmax = is_nf4 ? (const uint8_t *)&not_there : NULL,
                                    .absmax_scale =
                                        is_nf4 ? (const float *)(const void *)&not_there : NULL };
    }
    w->is_quantized = w->is_quantized || as_nf4;
}

/* Calls `check` before memory for the data is allocated. */
static int check_outline(const struct weights *w, bool is_nf4, weights_check *check, void *arg,
                         struct fail *why)
{
    struct weights outline = { 0 };
    int status = config_copy(&outline.config, &w->config, why);
    if (!status) status = outline_config(&outline, why);
    for (int64_t i = 0; !status && w->at && i < w->count; i++)
        outline.at[i].type = w->at[i].type;
    if (!status) {
        outline_data(&outline, is_nf4);
        status = check(arg, &outline, why);
    }
    weights_close(&outline);
    return status;
}

static int open_stream(struct weights *w, const char *path, weights_check *check, void *arg,
                       struct fail *why)
{
    struct reader *r;
    struct weights_info info;
    if (weights_reader(&r, path, &info, why)) return -1;
    memcpy(w->base, info.base, sizeof w->base);
    memcpy(w->tokenizer, info.tokenizer, sizeof w->tokenizer);
    int status = config_parse(&w->config, info.config, reader_name(r), why);
    if (!status) status = weights_list_tensors(w, why);
    if (!status && check)
        status = check_outline(w, !strcmp(info.quantization, "nf4"), check, arg, why);
    if (!status) status = reader_read_ahead(r, why);
    if (!status) status = read_records(w, r, why);
    const char *base = status ? NULL : reader_parent(r, WEIGHTS_BASE);
    if (base) memcpy(w->base, base, sizeof w->base);
    if (!status && !w->base[0])
        status = fail_input(why, "%s: neither its header nor its end record has the base's digest",
                            reader_name(r));
    if (!status) memcpy(w->stream, reader_digest(r), sizeof w->stream);
    w->was_read = true;
    weights_info_release(&info);
    reader_close(r);
    return status;
}

int weights_directory_is_nf4(const char *path, struct fail *why)
{
    struct config c;
    if (config_read(&c, path, why)) return -1;
    int found = bnb_check_config(c.json, why);
    config_release(&c);
    return found < 0 ? fail_in(why, path) : found;
}

/* widens: tensors of a GGUF that have only packed rows are converted, so that they have data. */
static int open_any(struct weights *w, const char *path, bool with_base, bool widens,
                    weights_check *check, void *arg, struct fail *why)
{
    *w = (struct weights){ 0 };
    double start = clock_seconds();
    int status;
    if (model_place_check(path, why)) return -1;
    if (file_is_folder(path)) {
        status = open_directory(w, path, with_base, why);
    } else if (gguf_is(path)) {
        status = weights_open_gguf(w, path, why);
        if (!status && widens && check) status = check_outline(w, false, check, arg, why);
        if (!status && with_base) base_digest(w, w->base);
        if (!status && widens) status = weights_widen(w, why);
    } else {
        status = open_stream(w, path, check, arg, why);
    }
    w->seconds = clock_seconds() - start;
    if (status) weights_close(w);
    return status;
}

int weights_open(struct weights *w, const char *path, bool with_base, struct fail *why)
{
    return open_any(w, path, with_base, false, NULL, NULL, why);
}

int weights_open_checked(struct weights *w, const char *path, bool with_base, weights_check *check,
                         void *arg, struct fail *why)
{
    return open_any(w, path, with_base, true, check, arg, why);
}

/* ---- shapes only ---- */

static int outline_stream(struct weights *w, const char *path, struct fail *why)
{
    struct reader *r;
    struct weights_info info;
    if (weights_reader(&r, path, &info, why)) return -1;
    int status = config_parse(&w->config, info.config, reader_name(r), why);
    memcpy(w->tokenizer, info.tokenizer, sizeof w->tokenizer);
    weights_info_release(&info);
    reader_close(r);
    return status ? -1 : outline_config(w, why);
}

int weights_outline(struct weights *w, const char *path, bool as_nf4, struct fail *why)
{
    *w = (struct weights){ 0 };
    size_t length = strlen(path);
    bool is_directory = file_is_folder(path);
    bool is_config = length > 5 && !strcmp(path + length - 5, ".json");
    int status;
    if (!is_config && model_place_check(path, why)) return -1;
    if (is_directory && model_files_exist(path)) {
        status = open_directory(w, path, false, why);
    } else if (!is_config && gguf_is(path)) {
        status = weights_open_gguf(w, path, why);
        w->is_mapped = false; /* weights_widen will copy them into memory */
    } else if (is_directory || is_config) {
        status = config_read(&w->config, path, why) || outline_config(w, why) ? -1 : 0;
        if (!status) status = bnb_outline(w->config.json, path, &as_nf4, why);
        w->is_mapped = !as_nf4;
    } else {
        status = outline_stream(w, path, why);
        as_nf4 = true;
    }
    if (status)
        weights_close(w);
    else
        outline_data(w, as_nf4);
    return status;
}

int weights_untie(struct weights *w, struct fail *why)
{
    struct config untied = w->config;
    struct tensor *table;
    must(w->config.is_tied && w->count == w->source_count);
    size_t capacity = (size_t)w->count;
    if (buffer_fit(&w->at, &capacity, capacity + 1, why)) return -1;
    untied.is_tied = false;
    int64_t count = tensors_list(&untied, &table, why);
    if (count < 0) return -1;
    must(count == w->count + 1 && table[w->count].part == PART_HEAD);
    w->at[w->count] = w->at[0];
    free(w->table);
    w->table = table;
    w->count = count;
    return 0;
}

void weights_forget(struct weights *w)
{
    for (int64_t i = 0; i < w->count; i++)
        w->at[i] = (struct weight){ .type = w->at[i].type };
    for (size_t i = 0; i < w->copy_count; i++)
        free(w->copies[i]);
    w->copy_count = 0;
    w->copied = 0;
}

void weights_close(struct weights *w)
{
    model_files_close(&w->files);
    for (size_t i = 0; i < w->copy_count; i++)
        free(w->copies[i]);
    free(w->copies);
    free(w->packed);
    gguf_close(&w->gguf);
    free(w->table);
    free(w->at);
    config_release(&w->config);
    *w = (struct weights){ 0 };
}

void weights_describe(const struct weights *w, char *text, size_t size)
{
    struct size_text bytes = size_text((double)w->bytes);
    if (!w->was_read)
        snprintf(text, size, "%s mapped", bytes.at);
    else
        snprintf(text, size, "%s in %.2f s, %s/s", bytes.at, w->seconds,
                 size_text((double)w->bytes / w->seconds).at);
}
