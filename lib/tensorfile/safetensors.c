#include "lib/tensorfile/safetensors.h"

#include "lib/common/buffer.h"
#include "lib/common/json_scan.h"
#include "lib/common/output.h"
#include "lib/common/wrong_kind.h"

#include <fcntl.h>
#include <unistd.h>

/* A tensor's entry in the header, not yet checked. */
struct entry {
    char dtype[24];
    int dims, offset_count;
    int64_t shape[TENSOR_DIMS_MAX], offsets[2];
    bool has_dtype, has_shape, has_offsets;
};

/* Reads a list of at most `max` integers. */
static int read_numbers(struct json_scan *s, int64_t *to, int max, int *found, const char *lack)
{
    size_t count = 0;
    int more;
    if (json_scan_kind(s) != '[') return json_scan_refuse(s, lack);
    if (json_scan_open(s, '[')) return -1;
    while ((more = json_scan_more(s, &count)) > 0)
        if (count > (size_t)max || json_scan_integer(s, &to[count - 1]))
            return json_scan_refuse(s, lack);
    *found = (int)count;
    return more;
}

static int read_value(struct json_scan *s, const char *key, struct entry *e)
{
    bool *const has = !strcmp(key, "dtype")          ? &e->has_dtype
                      : !strcmp(key, "shape")        ? &e->has_shape
                      : !strcmp(key, "data_offsets") ? &e->has_offsets
                                                     : NULL;
    if (!has) return json_scan_skip(s);
    if (*has) return fail_input(s->why, "'%s' occurs twice", key);
    *has = true;
    if (has == &e->has_dtype) return json_scan_text(s, e->dtype, sizeof e->dtype);
    if (has == &e->has_shape)
        return read_numbers(s, e->shape, TENSOR_DIMS_MAX, &e->dims,
                            "no shape of at most 8 dimensions");
    return read_numbers(s, e->offsets, 2, &e->offset_count, "no pair of data_offsets");
}
_Static_assert(TENSOR_DIMS_MAX == 8, "as the message says");

static int scan_entry(struct json_scan *s, struct entry *e)
{
    char key[64];
    size_t count = 0;
    int more;
    *e = (struct entry){ 0 };
    if (json_scan_open(s, '{')) return -1;
    while ((more = json_scan_more(s, &count)) > 0)
        if (json_scan_key(s, key, sizeof key) || read_value(s, key, e)) return -1;
    return more;
}

static int check_shape(struct stored_tensor *t, const struct entry *e, struct fail *why)
{
    t->dims = e->dims;
    t->bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->dims; i++) {
        if (e->shape[i] < 0) return fail_input(why, "a dimension is not a count");
        t->shape[i] = e->shape[i];
        if (__builtin_mul_overflow(t->bytes, (size_t)t->shape[i], &t->bytes))
            return fail_input(why, "the shape overflows");
    }
    return 0;
}

static int read_entry(struct stored_tensor *t, const struct entry *e, const char *data,
                      size_t data_bytes, struct fail *why)
{
    if (!e->has_dtype || dtype_parse(e->dtype, &t->dtype))
        return fail_input(why, "dtype %.20s is not known", e->has_dtype ? e->dtype : "missing");
    if (!e->has_shape) return fail_input(why, "no shape of at most %d dimensions", TENSOR_DIMS_MAX);
    if (check_shape(t, e, why)) return -1;
    if (e->offset_count != 2) return fail_input(why, "no pair of data_offsets");
    int64_t begin = e->offsets[0], end = e->offsets[1];
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return fail_input(why,
                          "its data are at %lld to %lld, but the file has %zu bytes of data "
                          "(truncated? fetch it again)",
                          (long long)begin, (long long)end, data_bytes);
    if ((uint64_t)(end - begin) != t->bytes)
        return fail_input(why, "it has %lld bytes of data, but dtype and shape need %zu",
                          (long long)(end - begin), t->bytes);
    t->data = data + begin;
    return 0;
}

static int by_data(const void *a, const void *b)
{
    const struct stored_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int check_coverage(struct tensor_file *file, const char *data, size_t bytes,
                          struct fail *why)
{
    if (file->count) qsort(file->at, file->count, sizeof *file->at, by_data);
    const char *at = data;
    for (size_t i = 0; i < file->count; i++) {
        if (file->at[i].data != at)
            return fail_input(why, "%s: it overlaps its neighbour or leaves a gap",
                              file->at[i].name);
        at += file->at[i].bytes;
    }
    if ((size_t)(at - data) != bytes)
        return fail_input(why, "%zu bytes of data belong to no tensor",
                          bytes - (size_t)(at - data));
    return 0;
}

/* Appends a zeroed tensor. */
static struct stored_tensor *add_tensor(struct tensor_file *file, struct fail *why)
{
    if (file->count == TENSOR_COUNT_MAX) {
        (void)fail_input(why, "it has more than %d tensors", TENSOR_COUNT_MAX);
        return NULL;
    }
    if (buffer_extend(&file->at, file->count, why)) {
        (void)fail(why, "out of memory: its %zu tensors", file->count);
        return NULL;
    }
    file->at[file->count] = (struct stored_tensor){ 0 };
    return &file->at[file->count++];
}

static int read_tensor(struct tensor_file *file, struct json_scan *s, const char *name,
                       const char *data, size_t data_bytes, struct fail *why)
{
    struct entry e;
    struct stored_tensor *t = add_tensor(file, why);
    if (!t) return -1;
    t->name = strdup(name);
    if (!t->name) return fail(why, "out of memory: its %zu tensors", file->count);
    return scan_entry(s, &e) || read_entry(t, &e, data, data_bytes, why) ? fail_in(why, name) : 0;
}

/* Reads the header without a JSON tree, because the tree would be fifty times as large. */
static int read_header(struct tensor_file *file, struct json_scan *s, const char *data,
                       size_t data_bytes, struct fail *why)
{
    char name[TENSOR_NAME_MAX + 1];
    size_t count = 0;
    int more;
    bool has_metadata = false;
    if (json_scan_open(s, '{')) return -1;
    while ((more = json_scan_more(s, &count)) > 0) {
        if (json_scan_key(s, name, sizeof name)) return -1;
        if (strcmp(name, "__metadata__") != 0) {
            if (read_tensor(file, s, name, data, data_bytes, why)) return -1;
            continue;
        }
        if (has_metadata) return fail_input(why, "%s occurs twice", name);
        has_metadata = true;
        if (json_scan_skip(s)) return -1;
    }
    if (more || json_scan_end(s)) return -1;
    return check_coverage(file, data, data_bytes, why) || tensor_file_sort(file, why) ? -1 : 0;
}

static int parse(struct tensor_file *file, struct fail *why)
{
    const unsigned char *bytes = file->map;
    uint64_t length = 0;
    if (file->map_bytes < 8)
        return fail_input(why, "truncated: it is shorter than the number that gives the header's "
                               "length: fetch it again");
    for (int i = 8; i-- > 0;)
        length = length << 8 | bytes[i];
    if (length > SAFETENSORS_HEADER_MAX)
        return fail_input(why, "the header has %llu bytes, but at most %d are possible",
                          (unsigned long long)length, SAFETENSORS_HEADER_MAX);
    if (length > file->map_bytes - 8)
        return fail_input(
            why,
            "truncated: its header should have %llu bytes, but the file has %zu: fetch it again",
            (unsigned long long)length, file->map_bytes - 8);
    struct json_scan s = json_scan_begin("header", (const char *)bytes + 8, (size_t)length, why);
    const char *data = (const char *)bytes + 8 + length;
    return read_header(file, &s, data, file->map_bytes - 8 - (size_t)length, why);
}

int safetensors_open(struct tensor_file *file, const char *path, struct fail *why)
{
    if (tensor_file_map(file, path, why)) return -1;
    if (!parse(file, why)) return 0;
    (void)wrong_kind_of_weights(file->map, file->map_bytes, FILE_KIND_SAFETENSORS, "safetensors",
                                why);
    tensor_file_close(file);
    return fail_in(why, path);
}

struct safetensors_writer {
    struct output out;
    uint64_t end; /* the value that out.written must have at the end */
    XXH3_state_t *hash;
};

uint64_t tensor_header_bytes(const struct tensor_header *t)
{
    uint64_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->dims; i++)
        bytes *= (uint64_t)t->shape[i];
    return bytes;
}

/* Adds a tensor whose data begin at `at`. */
static int put_entry(json_t *header, const struct tensor_header *t, uint64_t at, struct fail *why)
{
    if (json_object_get(header, t->name))
        return fail_input(why, "two tensors have the name %s", t->name);
    json_t *shape = json_array();
    for (int d = 0; d < t->dims; d++)
        json_array_append_new(shape, json_integer(t->shape[d]));
    json_t *entry =
        json_pack("{s:s,s:o,s:[I,I]}", "dtype", dtype_name(t->dtype), "shape", shape,
                  "data_offsets", (json_int_t)at, (json_int_t)(at + tensor_header_bytes(t)));
    if (!entry || json_array_size(shape) != (size_t)t->dims) {
        json_decref(entry);
        return fail(why, "out of memory");
    }
    if (!json_object_set_new(header, t->name, entry)) return 0;
    return fail(why, "out of memory, or a tensor's name is not UTF-8: %s", t->name);
}

/* Returns the header, which the caller frees. NULL on failure. */
static char *header_text(const struct tensor_header *tensors, size_t count, uint64_t *data_bytes,
                         struct fail *why)
{
    json_t *header =
        json_pack("{s:{s:s,s:s}}", "__metadata__", "format", "pt", "made_by", "longqlora");
    int status = header ? 0 : fail(why, "out of memory");
    *data_bytes = 0;
    for (size_t i = 0; i < count && !status; i++) {
        status = put_entry(header, &tensors[i], *data_bytes, why);
        *data_bytes += tensor_header_bytes(&tensors[i]);
    }
    char *text = status ? NULL : json_dumps(header, JSON_COMPACT);
    if (!status && !text) (void)fail(why, "out of memory");
    json_decref(header);
    return text;
}

int safetensors_create(struct safetensors_writer **out, const char *path,
                       const struct tensor_header *tensors, size_t count, struct fail *why)
{
    *out = NULL;
    uint64_t data_bytes;
    char *text = header_text(tensors, count, &data_bytes, why);
    if (!text) return fail_in(why, path);
    struct safetensors_writer *w = calloc(1, sizeof *w);
    if (w) w->hash = XXH3_createState();
    if (!w || !w->hash) {
        if (w) XXH3_freeState(w->hash);
        free(w);
        free(text);
        return fail(why, "%s: out of memory", path);
    }
    XXH3_128bits_reset(w->hash);
    w->out.fd = -1;
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)(padded >> (8 * i));
    w->end = 8 + padded + data_bytes;
    int status = output_open(&w->out, path, why);
    if (!status) output_write_behind(&w->out, data_bytes);
    if (!status) status = safetensors_put(w, prefix, 8, why);
    if (!status) status = safetensors_put(w, text, length, why);
    if (!status) status = safetensors_put(w, "       ", padded - length, why);
    free(text);
    if (status)
        safetensors_abandon(w);
    else
        *out = w;
    return status;
}

int safetensors_put(struct safetensors_writer *w, const void *data, size_t bytes, struct fail *why)
{
    XXH3_128bits_update(w->hash, data, bytes);
    return output_write(&w->out, data, bytes, why);
}

void safetensors_digest(const struct safetensors_writer *w, char digest[DIGEST_TEXT])
{
    must(w->out.written == w->end);
    digest_of_state(w->hash, digest);
}

int safetensors_finish(struct safetensors_writer *w, struct fail *why)
{
    must(w->out.written == w->end);
    int status = output_close(&w->out, why);
    XXH3_freeState(w->hash);
    free(w);
    return status;
}

void safetensors_abandon(struct safetensors_writer *w)
{
    if (!w) return;
    output_abandon(&w->out);
    XXH3_freeState(w->hash);
    free(w);
}
