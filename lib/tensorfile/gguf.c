#include "lib/tensorfile/gguf.h"

#include "lib/common/file.h"
#include "lib/common/mapped.h"
#include "lib/common/utf8.h"

#include <sys/stat.h>
#include <unistd.h>

/* ---- bytes ---- */

/* The unread rest of the file while its header is read. */
struct cursor {
    const char *at, *end;
};

static size_t left(const struct cursor *c) { return (size_t)(c->end - c->at); }

static int cut(struct fail *why) { return fail_input(why, "truncated in its header"); }

static int read_u32(struct cursor *c, uint32_t *to, struct fail *why)
{
    if (left(c) < sizeof *to) return cut(why);
    memcpy(to, c->at, sizeof *to);
    c->at += sizeof *to;
    return 0;
}

static int read_u64(struct cursor *c, uint64_t *to, struct fail *why)
{
    if (left(c) < sizeof *to) return cut(why);
    memcpy(to, c->at, sizeof *to);
    c->at += sizeof *to;
    return 0;
}

static int read_text(struct cursor *c, struct gguf_text *to, struct fail *why)
{
    uint64_t bytes;
    if (read_u64(c, &bytes, why)) return -1;
    if (bytes > left(c))
        return fail_input(why, "a string has %llu bytes, but only %zu are left (truncated?)",
                          (unsigned long long)bytes, left(c));
    *to = (struct gguf_text){ c->at, (size_t)bytes };
    c->at += bytes;
    return 0;
}

/* Reads a name, which must be UTF-8 without NUL and not empty. */
static int read_name(struct cursor *c, struct gguf_text *to, size_t max, const char *what,
                     struct fail *why)
{
    if (read_text(c, to, why)) return -1;
    if (!to->bytes || to->bytes > max)
        return fail_input(why, "a %s has %zu bytes, but 1 to %zu are possible", what, to->bytes,
                          max);
    for (size_t i = 0, n; i < to->bytes; i += n) {
        n = utf8_valid((const unsigned char *)to->at + i, to->bytes - i);
        if (!n || !to->at[i]) return fail_input(why, "a %s is no text in UTF-8", what);
    }
    return 0;
}

/* ---- key/values ---- */

static int read_type(struct cursor *c, enum gguf_type *to, struct fail *why)
{
    uint32_t type;
    if (read_u32(c, &type, why)) return -1;
    if (type >= GGUF_TYPES) return fail_input(why, "a value has the unknown type %u", type);
    *to = (enum gguf_type)type;
    return 0;
}

static int skip_items(struct cursor *c, enum gguf_type item, uint64_t count, int depth,
                      struct fail *why)
{
    struct gguf_text text;
    size_t item_bytes = gguf_item_bytes(item);
    if (item_bytes) {
        if (count > left(c) / item_bytes)
            return fail_input(why,
                              "an array has %llu items, but only %zu bytes are left (truncated?)",
                              (unsigned long long)count, left(c));
        c->at += count * item_bytes;
        return 0;
    }
    /* Each string or array takes at least 8 bytes, so even with a false count this loop ends at the
     * end of the file. */
    for (uint64_t i = 0; i < count; i++) {
        enum gguf_type inner;
        uint64_t inner_count;
        if (item == GGUF_STRING) {
            if (read_text(c, &text, why)) return -1;
            continue;
        }
        if (depth == GGUF_DEPTH_MAX)
            return fail_input(why, "arrays are nested deeper than %d", GGUF_DEPTH_MAX);
        if (read_type(c, &inner, why) || read_u64(c, &inner_count, why) ||
            skip_items(c, inner, inner_count, depth + 1, why))
            return -1;
    }
    return 0;
}

static int read_value(struct cursor *c, struct gguf_value *v, struct fail *why)
{
    if (read_name(c, &v->key, GGUF_KEY_MAX, "key", why)) return -1;
    int status = read_type(c, &v->type, why);
    v->item = v->type;
    v->count = 1;
    if (!status && v->type == GGUF_ARRAY)
        status = read_type(c, &v->item, why) || read_u64(c, &v->count, why) ? -1 : 0;
    v->at = c->at;
    if (!status) status = skip_items(c, v->item, v->count, 1, why);
    if (!status && v->type == GGUF_BOOL && (unsigned char)*v->at > 1)
        status = fail_input(why, "a bool is neither 0 nor 1");
    if (!status) return 0;
    char key[80];
    snprintf(key, sizeof key, "%.*s", (int)(v->key.bytes < 60 ? v->key.bytes : 60), v->key.at);
    return fail_in(why, key);
}

int gguf_compare_texts(struct gguf_text a, struct gguf_text b)
{
    int order = memcmp(a.at, b.at, a.bytes < b.bytes ? a.bytes : b.bytes);
    if (order) return order;
    return a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

static int by_key(const void *a, const void *b)
{
    const struct gguf_value *x = a, *y = b;
    return gguf_compare_texts(x->key, y->key);
}

static int read_values(struct gguf *g, struct cursor *c, uint64_t count, struct fail *why)
{
    enum { BYTES_MIN = 8 + 1 + 4 + 1 }; /* the smallest number of bytes of a key and its value */
    if (count > GGUF_KEYS_MAX || count > left(c) / BYTES_MIN)
        return fail_input(why,
                          "%llu keys do not fit into %zu bytes, or are more than %d (truncated?)",
                          (unsigned long long)count, left(c), GGUF_KEYS_MAX);
    g->values = calloc((size_t)count + 1, sizeof *g->values);
    if (!g->values) return fail(why, "out of memory");
    for (g->value_count = 0; g->value_count < count; g->value_count++)
        if (read_value(c, &g->values[g->value_count], why)) return -1;
    qsort(g->values, g->value_count, sizeof *g->values, by_key);
    for (size_t i = 1; i < g->value_count; i++)
        if (!by_key(&g->values[i - 1], &g->values[i]))
            return fail_input(why, "key %.*s occurs twice",
                              (int)(g->values[i].key.bytes < 60 ? g->values[i].key.bytes : 60),
                              g->values[i].key.at);
    return 0;
}

/* ---- tensors ---- */

/* Computes t->bytes. dims are in the file's order, the row's length first. */
static int check_shape(struct gguf_tensor *t, const uint64_t *dims, struct fail *why)
{
    const struct ggml_format *f = ggml_format(t->type);
    uint64_t row = t->dims ? dims[0] : 1, elements = 1;
    for (int i = 0; i < t->dims; i++) {
        if (!dims[i] || dims[i] > INT32_MAX * INT64_C(4096) ||
            __builtin_mul_overflow(elements, dims[i], &elements) || elements > INT64_MAX / 8)
            return fail_input(why, "the shape is impossible");
        t->shape[t->dims - 1 - i] = (int64_t)dims[i];
    }
    if (row % f->elements)
        return fail_input(why, "rows of %llu elements do not consist of %s's blocks of %u",
                          (unsigned long long)row, f->name, f->elements);
    t->bytes = (size_t)(elements / f->elements) * f->bytes;
    return 0;
}

static int read_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset, struct fail *why)
{
    struct gguf_text name;
    uint32_t dims, type;
    uint64_t shape[GGUF_DIMS_MAX];
    if (read_name(c, &name, GGUF_NAME_MAX, "tensor's name", why)) return -1;
    memcpy(t->name, name.at, name.bytes);
    if (read_u32(c, &dims, why)) return -1;
    if (dims > GGUF_DIMS_MAX)
        return fail_input(why, "%s has %u dimensions, but at most %d are possible", t->name, dims,
                          GGUF_DIMS_MAX);
    t->dims = (int)dims;
    for (uint32_t i = 0; i < dims; i++)
        if (read_u64(c, &shape[i], why)) return -1;
    if (read_u32(c, &type, why) || read_u64(c, offset, why)) return -1;
    const struct ggml_format *f = ggml_format(type);
    if (!f || !f->elements)
        return fail_input(why,
                          "%s: type %s is not supported, only f32, f16, bf16, q8_0, q4_0, q4_1, "
                          "q5_0, q5_1, q4_K, q5_K and q6_K: fetch the model in one of these, or in "
                          "safetensors",
                          t->name, f ? f->name : "(unknown)");
    t->type = (enum ggml_type)type;
    return check_shape(t, shape, why) ? fail_in(why, t->name) : 0;
}

static int by_name(const void *a, const void *b)
{
    const struct gguf_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int by_data(const void *a, const void *b)
{
    const struct gguf_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sets where each tensor's data lie, and fails if two tensors share bytes. `offsets` is in the
 * order of the tensors.
 */
static int place_tensors(struct gguf *g, const struct cursor *c, const uint64_t *offsets,
                         uint64_t alignment, struct fail *why)
{
    size_t used = (size_t)(c->at - (const char *)g->map);
    size_t begin = (used + alignment - 1) / alignment * alignment;
    size_t bytes = begin < g->map_bytes ? g->map_bytes - begin : 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % alignment)
            return fail_input(why, "%s: its data are not aligned to %llu bytes", t->name,
                              (unsigned long long)alignment);
        if (offsets[i] > bytes || t->bytes > bytes - offsets[i])
            return fail_input(
                why, "%s has %zu bytes of data at %llu, but the file has only %zu (truncated?)",
                t->name, t->bytes, (unsigned long long)offsets[i], bytes);
        t->data = (const char *)g->map + begin + offsets[i];
    }
    qsort(g->tensors, g->tensor_count, sizeof *g->tensors, by_data);
    for (size_t i = 1; i < g->tensor_count; i++) {
        const struct gguf_tensor *t = &g->tensors[i - 1];
        if ((const char *)t->data + t->bytes > (const char *)t[1].data)
            return fail_input(why, "%s and %s overlap", t->name, t[1].name);
    }
    qsort(g->tensors, g->tensor_count, sizeof *g->tensors, by_name);
    for (size_t i = 1; i < g->tensor_count; i++)
        if (!by_name(&g->tensors[i - 1], &g->tensors[i]))
            return fail_input(why, "tensor %s occurs twice", g->tensors[i].name);
    return 0;
}

static int read_tensors(struct gguf *g, struct cursor *c, uint64_t count, struct fail *why)
{
    enum { BYTES_MIN = 8 + 1 + 4 + 4 + 8 }; /* the smallest number of bytes of a tensor's entry */
    int64_t alignment = GGUF_ALIGNMENT;
    if (gguf_get_integer(g, "general.alignment", 1, 1 << 20, &alignment, why)) return -1;
    if (alignment < 8 || (alignment & (alignment - 1)))
        return fail_input(why, "general.alignment %lld is not a power of two of at least 8",
                          (long long)alignment);
    if (count > GGUF_TENSORS_MAX || count > left(c) / BYTES_MIN)
        return fail_input(
            why, "%llu tensors do not fit into %zu bytes, or are more than %d (truncated?)",
            (unsigned long long)count, left(c), GGUF_TENSORS_MAX);
    g->tensors = calloc((size_t)count + 1, sizeof *g->tensors);
    uint64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    int status = g->tensors && offsets ? 0 : fail(why, "out of memory");
    for (g->tensor_count = 0; !status && g->tensor_count < count; g->tensor_count++)
        status = read_tensor(c, &g->tensors[g->tensor_count], &offsets[g->tensor_count], why);
    if (!status) status = place_tensors(g, c, offsets, (uint64_t)alignment, why);
    free(offsets);
    return status;
}

/* ---- the whole file ---- */

static int check_version(uint32_t version, struct fail *why)
{
    if (version == 2 || version == GGUF_VERSION) return 0;
    if (!(version & 0xffff))
        return fail_input(why,
                          "the GGUF file is big-endian, but only little-endian ones are supported");
    if (version == 1)
        return fail_input(why, "GGUF version 1 is not supported, only 2 and 3: convert the model "
                               "again with a current llama.cpp");
    return fail_input(why, "GGUF version %u is not supported, only 2 and 3", version);
}

/* Refuses one part of a model that gguf-split has cut. */
static int check_whole(const struct gguf *g, struct fail *why)
{
    int64_t count = 1;
    if (gguf_get_integer(g, "split.count", 0, 1 << 16, &count, why)) return -1;
    if (count <= 1) return 0;
    return fail_input(
        why,
        "this is one part of %lld (split.count): llama.cpp's llama-gguf-split --merge makes "
        "one file of them",
        (long long)count);
}

static int parse(struct gguf *g, struct fail *why)
{
    struct cursor c = { g->map, (const char *)g->map + g->map_bytes };
    uint64_t tensors, values;
    if (left(&c) < 4 || memcmp(c.at, GGUF_MAGIC, 4) != 0)
        return fail_input(why, "this is not a GGUF file");
    c.at += 4;
    if (read_u32(&c, &g->version, why) || check_version(g->version, why) ||
        read_u64(&c, &tensors, why) || read_u64(&c, &values, why) ||
        read_values(g, &c, values, why) || check_whole(g, why))
        return -1;
    return read_tensors(g, &c, tensors, why);
}

bool gguf_is(const char *path)
{
    struct stat st;
    char head[8];
    if (!strcmp(path, "-") || stat(path, &st) || !S_ISREG(st.st_mode)) return false;
    return file_read_head(path, head, sizeof head, &(struct fail){ 0 }) == sizeof head &&
           !memcmp(head, GGUF_MAGIC, 4) && (!head[5] || !head[6]);
}

int gguf_open(struct gguf *g, const char *path, struct fail *why)
{
    *g = (struct gguf){ 0 };
    uint64_t bytes;
    int fd = file_open(path, &bytes, why);
    if (fd < 0) return -1;
    if (bytes)
        g->map = mapped_open(fd, bytes, path, why);
    else
        fail_input(why, "%s: empty", path);
    close(fd);
    if (!g->map) return -1;
    g->map_bytes = bytes;
    if (!parse(g, why)) return 0;
    gguf_close(g);
    return fail_in(why, path);
}

void gguf_close(struct gguf *g)
{
    free(g->values);
    free(g->tensors);
    mapped_close(g->map, g->map_bytes);
    *g = (struct gguf){ 0 };
}

void gguf_tensor_describe(const struct gguf_tensor *t, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s [", ggml_format(t->type)->name);
    for (int i = 0; i < t->dims && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ", %lld" : "%lld",
                                 (long long)t->shape[i]);
    if (used < size) snprintf(text + used, size - used, "]");
}
