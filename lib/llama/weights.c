#include "weights.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const struct {
    const char *name;
    size_t bits;
} types[] = {
    [WEIGHT_F32] = { "f32", 32 },
    [WEIGHT_BF16] = { "bf16", 16 },
    [WEIGHT_F16] = { "f16", 16 },
    [WEIGHT_NF4] = { "nf4", 4 },
};

size_t weight_type_bits(enum weight_type type) { return types[type].bits; }
const char *weight_type_name(enum weight_type type) { return types[type].name; }

int digest_file(const char *path, char digest[STREAM_DIGEST_TEXT], struct fail *why)
{
    static const size_t piece = 1 << 18;
    FILE *file = fopen(path, "re");
    if (!file) return fail(why, "%s: %s", path, strerror(errno));
    XXH3_state_t *state = XXH3_createState();
    char *buffer = malloc(piece);
    int status = state && buffer ? 0 : fail(why, "%s: out of memory", path);
    if (!status) {
        XXH3_128bits_reset(state);
        size_t n;
        while ((n = fread(buffer, 1, piece, file)) > 0)
            XXH3_128bits_update(state, buffer, n);
        if (ferror(file)) status = fail(why, "%s: cannot read: %s", path, strerror(errno));
        digest_of_state(state, digest);
    }
    free(buffer);
    XXH3_freeState(state);
    fclose(file);
    return status;
}

/* ---- a directory ---- */

static int open_shards(struct weights *w, const char *directory, const char *index_path,
                       struct fail *why)
{
    json_t *index = json_read_file(index_path, why);
    if (!index) return -1;
    json_t *map = json_object_get(index, "weight_map"), *shards = json_object();
    const char *tensor, *name;
    json_t *file;
    int status =
        json_is_object(map) && shards ? 0 : fail_input(why, "%s: no weight_map", index_path);
    json_object_foreach(map, tensor, file)
    {
        const char *shard = json_string_value(file);
        if (status) break;
        if (!shard || strchr(shard, '/') || !strcmp(shard, "..") || !*shard)
            status = fail_input(why, "%s: %s: not the name of a shard", index_path, tensor);
        else
            json_object_set_new(shards, shard, json_true());
    }
    w->files = calloc(json_object_size(shards) + 1, sizeof *w->files);
    if (!w->files && !status) status = fail(why, "%s: out of memory", directory);
    json_object_foreach(shards, name, file)
    {
        char path[4096];
        if (status) break;
        snprintf(path, sizeof path, "%s/%s", directory, name);
        status = safetensors_open(&w->files[w->file_count], path, why);
        if (!status) w->file_count++;
    }
    json_decref(shards);
    json_decref(index);
    return status;
}

static int open_files(struct weights *w, const char *directory, struct fail *why)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    if (!stat(path, &st)) {
        w->files = calloc(1, sizeof *w->files);
        if (!w->files) return fail(why, "%s: out of memory", directory);
        if (safetensors_open(&w->files[0], path, why)) return -1;
        w->file_count = 1;
        return 0;
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
    if (stat(path, &st))
        return fail(why, "%s: neither model.safetensors nor model.safetensors.index.json",
                    directory);
    return open_shards(w, directory, path, why);
}

/* Old files do not pad their header: such data is copied to where it can be used. */
static int align(struct weights *w, const struct stored_tensor *s, const void **data,
                 struct fail *why)
{
    *data = s->data;
    if ((uintptr_t)s->data % dtype_size(s->dtype) == 0) return 0;
    void **grown = realloc(w->copies, (w->copy_count + 1) * sizeof *grown);
    if (grown) w->copies = grown;
    void *copy = grown ? malloc(s->bytes + 1) : NULL;
    if (!copy) return fail(why, "%s: out of memory", s->name);
    memcpy(copy, s->data, s->bytes);
    w->copies[w->copy_count++] = copy;
    *data = copy;
    return 0;
}

static int take_stored(struct weights *w, int64_t i, const char *directory, struct fail *why)
{
    const struct tensor *t = &w->table[i];
    const struct stored_tensor *s = NULL;
    for (size_t f = 0; f < w->file_count && !s; f++)
        s = safetensors_find(&w->files[f], t->name);
    if (!s) return fail_input(why, "%s: tensor %s is missing", directory, t->name);
    int64_t cols = s->dims == 2 ? s->shape[1] : 1;
    if (s->dims < 1 || s->dims > 2 || s->shape[0] != t->rows || cols != t->cols)
        return fail_input(why, "%s: %s is [%lld, %lld], config.json needs [%lld, %lld]", directory,
                          t->name, (long long)(s->dims ? s->shape[0] : 0), (long long)cols,
                          (long long)t->rows, (long long)t->cols);
    static const enum weight_type type_of[] = {
        [DTYPE_F32] = WEIGHT_F32, [DTYPE_F16] = WEIGHT_F16, [DTYPE_BF16] = WEIGHT_BF16
    };
    if (s->dtype == DTYPE_U8)
        return fail_input(why, "%s: %s has dtype U8 (quantized by another program?)", directory,
                          t->name);
    w->at[i] = (struct weight){ .type = type_of[s->dtype] };
    return align(w, s, &w->at[i].data, why);
}

static void digest_base(struct weights *w)
{
    XXH3_state_t *state = XXH3_createState();
    must(state);
    XXH3_128bits_reset(state);
    for (int64_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->table[i];
        const char *type = weight_type_name(w->at[i].type);
        int64_t shape[2] = { t->rows, t->cols };
        XXH3_128bits_update(state, t->name, strlen(t->name) + 1);
        XXH3_128bits_update(state, type, strlen(type) + 1);
        XXH3_128bits_update(state, shape, sizeof shape);
        XXH3_128bits_update(state, w->at[i].data,
                            (size_t)(t->rows * t->cols) * weight_type_bits(w->at[i].type) / 8);
    }
    digest_of_state(state, w->base);
    XXH3_freeState(state);
}

static int list_tensors(struct weights *w, struct fail *why)
{
    w->count = tensors_list(&w->config, &w->table, why);
    if (w->count < 0) return -1;
    w->at = calloc((size_t)w->count, sizeof *w->at);
    return w->at ? 0 : fail(why, "out of memory");
}

static int open_directory(struct weights *w, const char *path, bool with_base, struct fail *why)
{
    char tokenizer[4096];
    struct stat st;
    if (config_read(&w->config, path, why) || list_tensors(w, why) || open_files(w, path, why))
        return -1;
    for (int64_t i = 0; i < w->count; i++)
        if (take_stored(w, i, path, why)) return -1;
    if (with_base) digest_base(w);
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.model", path);
    if (!stat(tokenizer, &st)) return digest_file(tokenizer, w->tokenizer, why);
    return 0;
}

/* ---- a stream ---- */

/* Where a tensor lies in memory, and how much of it has come. */
struct arriving {
    size_t data, absmax, nested; /* offsets */
    int64_t rows_read;
};

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static int64_t find_tensor(const struct weights *w, const char *name)
{
    for (int64_t i = 0; i < w->count; i++)
        if (!strcmp(w->table[i].name, name)) return i;
    return -1;
}

static int grow_memory(struct weights *w, size_t bytes, size_t *room, struct fail *why)
{
    if (w->memory_bytes + bytes > *room) {
        size_t more = *room ? 2 * *room : 1 << 20;
        while (more < w->memory_bytes + bytes)
            more *= 2;
        char *grown = realloc(w->memory, more);
        if (!grown) return fail(why, "out of memory: %zu bytes of weights", more);
        w->memory = grown;
        *room = more;
    }
    w->memory_bytes += bytes;
    return 0;
}

static int begin_tensor(struct weights *w, struct arriving *a, struct weight *at,
                        const struct tensor *t, const struct weights_record *r, size_t *room,
                        struct fail *why)
{
    if (r->rows != t->rows || r->cols != t->cols)
        return fail_input(why, "%s is [%lld, %lld], the config needs [%lld, %lld]", t->name,
                          (long long)r->rows, (long long)r->cols, (long long)t->rows,
                          (long long)t->cols);
    size_t elements = (size_t)(t->rows * t->cols);
    for (int i = WEIGHT_F32; i <= WEIGHT_NF4; i++)
        if (!strcmp(r->dtype, types[i].name)) at->type = (enum weight_type)i;
    if (at->type == WEIGHT_NF4 && t->role != ROLE_LINEAR)
        return fail_input(why, "%s is NF4, only linears may be", t->name);
    a->data = w->memory_bytes;
    a->absmax = a->data + padded((elements * types[at->type].bits + 7) / 8);
    a->nested = a->absmax + padded(at->type == WEIGHT_NF4 ? (elements + 63) / 64 : 0);
    size_t end = a->nested + padded(at->type == WEIGHT_NF4 ? (elements + 16383) / 16384 * 4 : 0);
    at->offset = r->offset;
    return grow_memory(w, end - a->data, room, why);
}

static int take_record(struct weights *w, struct arriving *arriving, const struct weights_record *r,
                       size_t *room, struct fail *why)
{
    int64_t i = find_tensor(w, r->name);
    if (i < 0) return fail_input(why, "tensor %s is not one of this model", r->name);
    const struct tensor *t = &w->table[i];
    struct arriving *a = &arriving[i];
    if (r->first_row != a->rows_read)
        return fail_input(why, "%s: row %lld comes, row %lld was due", r->name,
                          (long long)r->first_row, (long long)a->rows_read);
    if (!a->rows_read && begin_tensor(w, a, &w->at[i], t, r, room, why)) return -1;
    if (strcmp(r->dtype, types[w->at[i].type].name) != 0 || r->offset != w->at[i].offset ||
        r->rows != t->rows || r->cols != t->cols)
        return fail_input(why, "%s: ranges of rows that do not belong together", r->name);
    size_t first = (size_t)(r->first_row * r->cols);
    memcpy(w->memory + a->data + first * types[w->at[i].type].bits / 8, r->data, r->data_bytes);
    if (w->at[i].type == WEIGHT_NF4) {
        memcpy(w->memory + a->absmax + first / 64, r->absmax, r->absmax_bytes);
        memcpy(w->memory + a->nested + first / 16384 * 4, r->nested, r->nested_bytes);
        w->is_quantized = true;
    }
    a->rows_read = r->end_row;
    return 0;
}

static int place_tensors(struct weights *w, const struct arriving *arriving, struct fail *why)
{
    for (int64_t i = 0; i < w->count; i++) {
        const struct arriving *a = &arriving[i];
        if (a->rows_read != w->table[i].rows)
            return fail_input(why, "tensor %s is missing or cut", w->table[i].name);
        w->at[i].data = w->memory + a->data;
        w->at[i].absmax = (const uint8_t *)w->memory + a->absmax;
        w->at[i].nested = (const float *)(void *)(w->memory + a->nested);
    }
    return 0;
}

static int read_records(struct weights *w, struct reader *r, struct fail *why)
{
    struct weights_record record;
    size_t room = 0;
    struct arriving *arriving = calloc((size_t)w->count, sizeof *arriving);
    if (!arriving) return fail(why, "%s: out of memory", reader_name(r));
    int got;
    while ((got = weights_read(r, &record, why)) > 0)
        if (take_record(w, arriving, &record, &room, why)) {
            got = reader_blame(r, why);
            break;
        }
    if (!got && place_tensors(w, arriving, why)) got = fail_in(why, reader_name(r));
    free(arriving);
    return got;
}

static int open_stream(struct weights *w, const char *path, struct fail *why)
{
    struct reader *r;
    struct weights_info info;
    if (weights_reader(&r, path, &info, why)) return -1;
    memcpy(w->base, info.base, sizeof w->base);
    memcpy(w->tokenizer, info.tokenizer, sizeof w->tokenizer);
    int status = config_parse(&w->config, info.config, reader_name(r), why);
    if (!status) status = list_tensors(w, why);
    if (!status) status = read_records(w, r, why);
    if (!status) memcpy(w->stream, reader_digest(r), sizeof w->stream);
    weights_info_release(&info);
    reader_close(r);
    return status;
}

bool weights_are_directory(const char *path)
{
    struct stat st;
    return strcmp(path, "-") != 0 && !stat(path, &st) && S_ISDIR(st.st_mode);
}

int weights_open(struct weights *w, const char *path, bool with_base, struct fail *why)
{
    *w = (struct weights){ 0 };
    int status = weights_are_directory(path) ? open_directory(w, path, with_base, why)
                                             : open_stream(w, path, why);
    if (status) weights_close(w);
    return status;
}

/* ---- shapes alone ---- */

/* Type of what no file says: as config.json's torch_dtype. */
static enum weight_type stored_type(const struct config *c)
{
    const char *name = json_string_value(json_object_get(c->json, "torch_dtype"));
    if (name && !strcmp(name, "float32")) return WEIGHT_F32;
    return name && !strcmp(name, "bfloat16") ? WEIGHT_BF16 : WEIGHT_F16;
}

static int outline_config(struct weights *w, struct fail *why)
{
    if (list_tensors(w, why)) return -1;
    for (int64_t i = 0; i < w->count; i++)
        w->at[i].type = stored_type(&w->config);
    return 0;
}

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
    static const char not_there;
    char one[4096], index[4096];
    *w = (struct weights){ 0 };
    snprintf(one, sizeof one, "%s/model.safetensors", path);
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", path);
    size_t length = strlen(path);
    bool is_directory = weights_are_directory(path);
    bool is_config = length > 5 && !strcmp(path + length - 5, ".json");
    int status;
    if (is_directory && (!access(one, F_OK) || !access(index, F_OK))) {
        status = open_directory(w, path, false, why);
    } else if (is_directory || is_config) {
        status = config_read(&w->config, path, why) || outline_config(w, why) ? -1 : 0;
    } else {
        status = outline_stream(w, path, why);
        as_nf4 = true;
    }
    if (status) {
        weights_close(w);
        return -1;
    }
    for (int64_t i = 0; i < w->count; i++) {
        bool is_nf4 = as_nf4 && w->table[i].role == ROLE_LINEAR;
        w->at[i] =
            (struct weight){ .type = is_nf4 ? WEIGHT_NF4 : w->at[i].type,
                             .data = &not_there,
                             .absmax = is_nf4 ? (const uint8_t *)&not_there : NULL,
                             .nested = is_nf4 ? (const float *)(const void *)&not_there : NULL };
    }
    w->is_quantized = as_nf4;
    return 0;
}

void weights_close(struct weights *w)
{
    for (size_t i = 0; i < w->file_count; i++)
        safetensors_close(&w->files[i]);
    for (size_t i = 0; i < w->copy_count; i++)
        free(w->copies[i]);
    free(w->copies);
    free(w->files);
    free(w->memory);
    free(w->table);
    free(w->at);
    config_release(&w->config);
    *w = (struct weights){ 0 };
}
