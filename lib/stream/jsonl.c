#include "lib/stream/jsonl.h"

#include "lib/common/buffer.h"
#include "lib/common/json_scan.h"
#include "lib/stream/msgpack_map.h"

#include <jansson.h>

#include <inttypes.h>
#include <math.h>

/* How many bytes each number takes in the list with this key; 0 if the key has no list of
 * numbers. */
static int width_of(const char *key, size_t bytes, int token_width)
{
    if (bytes == 6 && !memcmp(key, "tokens", 6)) return token_width;
    if (bytes == 9 && !memcmp(key, "documents", 9)) return 4;
    if (bytes == 7 && !memcmp(key, "targets", 7)) return 4;
    return 0;
}

static bool are_pairs(const char *key, size_t bytes)
{
    return bytes == 7 && !memcmp(key, "targets", 7);
}

static int width_in_dtype(const char *dtype, size_t bytes)
{
    return bytes == 3 && !memcmp(dtype, "u16", 3) ? 2 : 4;
}

/* ---- msgpack to JSON ---- */

static int print_text(struct output *out, const msgpack_object_str *s, struct fail *why)
{
    json_t *text = json_stringn(s->ptr, s->size);
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    json_decref(text);
    if (!quoted) return fail_input(why, "a text that is not UTF-8 has no JSON form");
    int status = output_write(out, quoted, strlen(quoted), why);
    free(quoted);
    return status;
}

static int print_numbers(struct output *out, const msgpack_object_bin *b, int width, bool pairs,
                         struct fail *why)
{
    if (!width || b->size % ((size_t)width * (pairs ? 2 : 1)))
        return fail_input(why, "bytes have no JSON form");
    size_t count = b->size / (size_t)width;
    if (output_write(out, "[", 1, why)) return -1;
    for (size_t i = 0; i < count; i++) {
        uint32_t value = 0;
        memcpy(&value, b->ptr + i * (size_t)width, (size_t)width);
        char text[24];
        int n = snprintf(text, sizeof text, "%s%s%" PRIu32 "%s", i ? "," : "",
                         pairs && i % 2 == 0 ? "[" : "", value, pairs && i % 2 ? "]" : "");
        if (output_write(out, text, (size_t)n, why)) return -1;
    }
    return output_write(out, "]", 1, why);
}

static int print_value(struct output *out, const msgpack_object *o, struct fail *why);

static int print_map(struct output *out, const msgpack_object_map *m, int width, struct fail *why)
{
    if (output_write(out, "{", 1, why)) return -1;
    for (uint32_t i = 0; i < m->size; i++) {
        const msgpack_object *key = &m->ptr[i].key, *value = &m->ptr[i].val;
        must(key->type == MSGPACK_OBJECT_STR); /* writers have no other; readers refuse others */
        if (i && output_write(out, ",", 1, why)) return -1;
        if (print_text(out, &key->via.str, why) || output_write(out, ":", 1, why)) return -1;
        const char *name = key->via.str.ptr;
        size_t bytes = key->via.str.size;
        int status = value->type == MSGPACK_OBJECT_BIN
                         ? print_numbers(out, &value->via.bin, width_of(name, bytes, width),
                                         are_pairs(name, bytes), why)
                         : print_value(out, value, why);
        if (status) return -1;
    }
    return output_write(out, "}", 1, why);
}

static int print_value(struct output *out, const msgpack_object *o, struct fail *why)
{
    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        return output_print(out, why, "%s", o->via.boolean ? "true" : "false");
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return output_print(out, why, "%" PRIu64, o->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return output_print(out, why, "%" PRId64, o->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        if (!isfinite(o->via.f64))
            return fail_input(why, "a number that is not finite has no JSON form");
        return output_print(out, why, "%.17g", o->via.f64);
    case MSGPACK_OBJECT_STR:
        return print_text(out, &o->via.str, why);
    case MSGPACK_OBJECT_MAP:
        return print_map(out, &o->via.map, 0, why);
    case MSGPACK_OBJECT_ARRAY:
        if (output_write(out, "[", 1, why)) return -1;
        for (uint32_t i = 0; i < o->via.array.size; i++)
            if ((i && output_write(out, ",", 1, why)) ||
                print_value(out, &o->via.array.ptr[i], why))
                return -1;
        return output_write(out, "]", 1, why);
    case MSGPACK_OBJECT_NIL:
        return output_print(out, why, "null");
    default:
        return fail_input(why, "bytes have no JSON form");
    }
}

int stream_json_print(struct output *out, const char *maps, size_t bytes, int *width,
                      struct fail *why)
{
    msgpack_unpacked object;
    msgpack_unpacked_init(&object);
    size_t at = 0;
    int status = 0;
    while (!status && at < bytes) {
        msgpack_unpack_return got = msgpack_unpack_next(&object, maps, bytes, &at);
        must(got == MSGPACK_UNPACK_SUCCESS || got == MSGPACK_UNPACK_NOMEM_ERROR);
        if (got == MSGPACK_UNPACK_NOMEM_ERROR) {
            status = fail(why, "out of memory");
            break;
        }
        const msgpack_object *dtype = map_find(&object.data, "dtype");
        if (dtype && dtype->type == MSGPACK_OBJECT_STR)
            *width = width_in_dtype(dtype->via.str.ptr, dtype->via.str.size);
        status = print_map(out, &object.data.via.map, *width, why);
        if (!status) status = output_write(out, "\n", 1, why);
    }
    msgpack_unpacked_destroy(&object);
    return status;
}

/* ---- JSON to msgpack, without a JSON tree, which would be many times as large as the line ---- */

struct line {
    struct json_scan scan;
    msgpack_packer pk;
    char *text; /* the last string that was read */
    size_t capacity;
};

static int read_text(struct line *l)
{
    if (buffer_fit(&l->text, &l->capacity, json_scan_longest(&l->scan), l->scan.why)) return -1;
    return json_scan_text(&l->scan, l->text, l->capacity);
}

/* Counts the members or elements of the value at s. If a map has a dtype, *width becomes the width
 * of its tokens. */
static int count_all(struct json_scan s, size_t *count, int *width)
{
    char key[8], dtype[8];
    char open = json_scan_kind(&s);
    int more;
    *count = 0;
    if (json_scan_open(&s, open)) return -1;
    while ((more = json_scan_more(&s, count)) > 0) {
        bool is_dtype = false;
        if (open == '{' && width && json_scan_longest(&s) == sizeof "dtype") {
            if (json_scan_key(&s, key, sizeof key)) return -1;
            is_dtype = !strcmp(key, "dtype");
        } else if (open == '{' && json_scan_key(&s, NULL, 0)) {
            return -1;
        }
        if (is_dtype && json_scan_kind(&s) == '"' && json_scan_longest(&s) <= sizeof dtype) {
            if (json_scan_text(&s, dtype, sizeof dtype)) return -1;
            *width = width_in_dtype(dtype, strlen(dtype));
        } else if (json_scan_skip(&s)) {
            return -1;
        }
    }
    return more;
}

static int gather_number(msgpack_sbuffer *numbers, struct json_scan *s, int width)
{
    int64_t n = -1;
    if (json_scan_integer(s, &n) || n < 0 || n >= (INT64_C(1) << (8 * width)))
        return fail_input(s->why, "a list holds something that is no number below 2^%d", 8 * width);
    uint32_t number = (uint32_t)n;
    if (msgpack_write_bytes(numbers, (const char *)&number, (size_t)width))
        return fail(s->why, "out of memory");
    return 0;
}

/* Appends the numbers of a list. The list must have as many as `wanted`; 0: any number. */
static int gather(msgpack_sbuffer *numbers, struct json_scan *s, int width, size_t wanted)
{
    size_t count = 0;
    int more;
    if (json_scan_open(s, '[')) return -1;
    while ((more = json_scan_more(s, &count)) > 0)
        if (gather_number(numbers, s, width)) return -1;
    if (!more && wanted && count != wanted)
        return fail_input(s->why, "a list of %zu numbers, where a pair [start, end] is needed",
                          count);
    return more;
}

/* Appends the numbers of a list of pairs. */
static int gather_pairs(msgpack_sbuffer *numbers, struct json_scan *s, int width)
{
    size_t count = 0;
    int more;
    if (json_scan_open(s, '[')) return -1;
    while ((more = json_scan_more(s, &count)) > 0) {
        if (json_scan_kind(s) != '[')
            return fail_input(s->why, "a list holds something that is no pair [start, end]");
        if (gather(numbers, s, width, 2)) return -1;
    }
    return more;
}

static int pack_numbers(struct line *l, int width, bool pairs)
{
    msgpack_sbuffer numbers;
    msgpack_sbuffer_init(&numbers);
    int status =
        pairs ? gather_pairs(&numbers, &l->scan, width) : gather(&numbers, &l->scan, width, 0);
    if (!status) msgpack_pack_bin_with_body(&l->pk, numbers.data ? numbers.data : "", numbers.size);
    msgpack_sbuffer_destroy(&numbers);
    return status;
}

static int pack_value(struct line *l);

static int pack_object(struct line *l, int *width)
{
    size_t members, count = 0;
    int more;
    if (count_all(l->scan, &members, width) || json_scan_open(&l->scan, '{')) return -1;
    msgpack_pack_map(&l->pk, members);
    while ((more = json_scan_more(&l->scan, &count)) > 0) {
        char key[80];
        if (read_text(l) || json_scan_colon(&l->scan)) return -1;
        size_t bytes = strlen(l->text);
        int each = json_scan_kind(&l->scan) == '[' && width ? width_of(l->text, bytes, *width) : 0;
        msgpack_pack_str_with_body(&l->pk, l->text, bytes);
        snprintf(key, sizeof key, "%.79s", l->text);
        bool pairs = are_pairs(l->text, bytes);
        if (each ? pack_numbers(l, each, pairs) : pack_value(l)) return fail_in(l->scan.why, key);
    }
    return more;
}

static int pack_list(struct line *l)
{
    size_t elements, count = 0;
    int more;
    if (count_all(l->scan, &elements, NULL) || json_scan_open(&l->scan, '[')) return -1;
    msgpack_pack_array(&l->pk, elements);
    while ((more = json_scan_more(&l->scan, &count)) > 0)
        if (pack_value(l)) return -1;
    return more;
}

static int pack_number(struct line *l)
{
    bool is_whole = false;
    int64_t whole;
    double real;
    if (json_scan_number(&l->scan, &is_whole, &whole, &real)) return -1;
    if (is_whole)
        msgpack_pack_int64(&l->pk, whole);
    else
        msgpack_pack_double(&l->pk, real);
    return 0;
}

static int pack_word(struct line *l)
{
    int word = json_scan_word(&l->scan);
    if (word == -1) return -1;
    if (word == -2) return fail_input(l->scan.why, "null has no place here");
    if (word)
        msgpack_pack_true(&l->pk);
    else
        msgpack_pack_false(&l->pk);
    return 0;
}

static int pack_value(struct line *l)
{
    switch (json_scan_kind(&l->scan)) {
    case '{':
        return pack_object(l, NULL);
    case '[':
        return pack_list(l);
    case '"':
        if (read_text(l)) return -1;
        msgpack_pack_str_with_body(&l->pk, l->text, strlen(l->text));
        return 0;
    case 't':
    case 'f':
    case 'n':
        return pack_word(l);
    default:
        return pack_number(l);
    }
}

int stream_json_parse(msgpack_sbuffer *to, const char *line, size_t bytes, int *width,
                      struct fail *why)
{
    struct line l = { .scan = json_scan_begin("not JSON:", line, bytes, why) };
    msgpack_packer_init(&l.pk, to, msgpack_write_bytes);
    int status = json_scan_kind(&l.scan) == '{' ? pack_object(&l, width)
                                                : fail_input(why, "not a JSON object");
    if (!status) status = json_scan_end(&l.scan);
    free(l.text);
    if (!status && msgpack_bytes_are_lost(to)) status = fail(why, "out of memory");
    return status;
}
