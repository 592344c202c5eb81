#include "safetensors.h"

#include "output.h"

#include <fcntl.h>
#include <unistd.h>

static int read_shape(struct stored_tensor *t, const json_t *shape, size_t *bytes, struct fail *why)
{
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_DIMS_MAX)
        return fail_input(why, "%s: no shape of at most %d dimensions", t->name, TENSOR_DIMS_MAX);
    t->dims = (int)json_array_size(shape);
    *bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->dims; i++) {
        const json_t *n = json_array_get(shape, (size_t)i);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return fail_input(why, "%s: a dimension is not a count", t->name);
        t->shape[i] = json_integer_value(n);
        if (__builtin_mul_overflow(*bytes, (size_t)t->shape[i], bytes))
            return fail_input(why, "%s: shape overflows", t->name);
    }
    return 0;
}

static int read_entry(struct stored_tensor *t, const char *name, const json_t *entry,
                      const char *data, size_t data_bytes, struct fail *why)
{
    if (strlen(name) > TENSOR_NAME_MAX) return fail_input(why, "a name of %zu bytes", strlen(name));
    t->name = strdup(name);
    if (!t->name) return fail(why, "out of memory");
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype || dtype_parse(dtype, &t->dtype))
        return fail_input(why, "%s: dtype %.20s is not known", name, dtype ? dtype : "missing");
    if (read_shape(t, json_object_get(entry, "shape"), &t->bytes, why)) return -1;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return fail_input(why, "%s: no pair of data_offsets", name);
    int64_t begin = json_integer_value(b), end = json_integer_value(e);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return fail_input(why,
                          "%s: data at %lld to %lld, the file has %zu bytes of data (truncated?)",
                          name, (long long)begin, (long long)end, data_bytes);
    if ((uint64_t)(end - begin) != t->bytes)
        return fail_input(why, "%s: %lld bytes of data, dtype and shape need %zu", name,
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

static int check_cover(struct tensor_file *file, const char *data, size_t bytes, struct fail *why)
{
    qsort(file->at, file->count, sizeof *file->at, by_data);
    const char *at = data;
    for (size_t i = 0; i < file->count; i++) {
        if (file->at[i].data != at)
            return fail_input(why, "%s: overlaps its neighbour or leaves a gap", file->at[i].name);
        at += file->at[i].bytes;
    }
    if ((size_t)(at - data) != bytes)
        return fail_input(why, "%zu bytes of data belong to no tensor",
                          bytes - (size_t)(at - data));
    return 0;
}

static int read_header(struct tensor_file *file, const json_t *header, const char *data,
                       size_t data_bytes, struct fail *why)
{
    if (!json_is_object(header)) return fail_input(why, "header is not an object");
    if (json_object_size(header) > TENSOR_COUNT_MAX)
        return fail_input(why, "%zu tensors, at most %d", json_object_size(header),
                          TENSOR_COUNT_MAX);
    file->at = calloc(json_object_size(header) + 1, sizeof *file->at);
    if (!file->at) return fail(why, "out of memory");
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)header, name, entry)
    {
        if (!strcmp(name, "__metadata__")) continue;
        if (read_entry(&file->at[file->count++], name, entry, data, data_bytes, why)) return -1;
    }
    return check_cover(file, data, data_bytes, why) || tensor_file_sort(file, why) ? -1 : 0;
}

static int parse(struct tensor_file *file, struct fail *why)
{
    const unsigned char *bytes = file->map;
    uint64_t length = 0;
    if (file->map_bytes < 8) return fail_input(why, "truncated: shorter than its header's length");
    for (int i = 8; i-- > 0;)
        length = length << 8 | bytes[i];
    if (length > SAFETENSORS_HEADER_MAX)
        return fail_input(why, "header of %llu bytes, at most %d", (unsigned long long)length,
                          SAFETENSORS_HEADER_MAX);
    if (length > file->map_bytes - 8)
        return fail_input(why, "truncated: header promises %llu bytes, the file has %zu",
                          (unsigned long long)length, file->map_bytes - 8);
    json_t *header = json_read_text((const char *)bytes + 8, (size_t)length, "header", why);
    if (!header) return -1;
    const char *data = (const char *)bytes + 8 + length;
    int status = read_header(file, header, data, file->map_bytes - 8 - (size_t)length, why);
    json_decref(header);
    return status;
}

int safetensors_open(struct tensor_file *file, const char *path, struct fail *why)
{
    if (tensor_file_map(file, path, why)) return -1;
    if (!parse(file, why)) return 0;
    tensor_file_close(file);
    return fail_in(why, path);
}

struct safetensors_writer {
    struct output out;
    uint64_t end; /* what out.written must be at the end */
};

uint64_t tensor_header_bytes(const struct tensor_header *t)
{
    uint64_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->dims; i++)
        bytes *= (uint64_t)t->shape[i];
    return bytes;
}

static char *header_text(const struct tensor_header *tensors, size_t count, uint64_t *data_bytes)
{
    json_t *header =
        json_pack("{s:{s:s,s:s}}", "__metadata__", "format", "pt", "made_by", "longqlora");
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        json_t *shape = json_array();
        uint64_t bytes = tensor_header_bytes(&tensors[i]);
        for (int d = 0; d < tensors[i].dims; d++)
            json_array_append_new(shape, json_integer(tensors[i].shape[d]));
        json_t *entry =
            json_pack("{s:s,s:o,s:[I,I]}", "dtype", dtype_name(tensors[i].dtype), "shape", shape,
                      "data_offsets", (json_int_t)at, (json_int_t)(at + bytes));
        json_object_set_new(header, tensors[i].name, entry);
        at += bytes;
    }
    *data_bytes = at;
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    return text;
}

/* Our headers begin with their metadata. */
bool safetensors_made_here(const char *path)
{
    static const char mark[] = "{\"__metadata__\":{\"format\":\"pt\",\"made_by\":\"longqlora\"}";
    char head[8 + sizeof mark - 1];
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool is_whole = read(fd, head, sizeof head) == (ssize_t)sizeof head;
    close(fd);
    return is_whole && !memcmp(head + 8, mark, sizeof mark - 1);
}

int safetensors_create(struct safetensors_writer **out, const char *path,
                       const struct tensor_header *tensors, size_t count, struct fail *why)
{
    *out = NULL;
    uint64_t data_bytes;
    struct safetensors_writer *w = calloc(1, sizeof *w);
    char *text = header_text(tensors, count, &data_bytes);
    if (!w || !text) {
        free(w);
        free(text);
        return fail(why, "%s: out of memory", path);
    }
    w->out.fd = -1;
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)(padded >> (8 * i));
    w->end = 8 + padded + data_bytes;
    int status = output_open(&w->out, path, why);
    if (!status) output_write_behind(&w->out, data_bytes);
    if (!status) status = output_write(&w->out, prefix, 8, why);
    if (!status) status = output_write(&w->out, text, length, why);
    if (!status) status = output_write(&w->out, "       ", padded - length, why);
    free(text);
    if (status)
        safetensors_abandon(w);
    else
        *out = w;
    return status;
}

int safetensors_put(struct safetensors_writer *w, const void *data, size_t bytes, struct fail *why)
{
    return output_write(&w->out, data, bytes, why);
}

int safetensors_finish(struct safetensors_writer *w, struct fail *why)
{
    must(w->out.written == w->end);
    int status = output_close(&w->out, why);
    free(w);
    return status;
}

void safetensors_abandon(struct safetensors_writer *w)
{
    if (!w) return;
    output_abandon(&w->out);
    free(w);
}
