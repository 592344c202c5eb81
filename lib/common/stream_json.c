#include "stream_json.h"

#include "fields.h"
#include "json.h"

#include <inttypes.h>

/* Bytes of an element of that key's list; 0: not a list of numbers. */
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
    if (!width) return fail_input(why, "bytes have no JSON form");
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
    default:
        return output_print(out, why, "null");
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
        must(msgpack_unpack_next(&object, maps, bytes, &at) == MSGPACK_UNPACK_SUCCESS);
        const msgpack_object *dtype = field_find(&object.data, "dtype");
        if (dtype && dtype->type == MSGPACK_OBJECT_STR)
            *width = width_in_dtype(dtype->via.str.ptr, dtype->via.str.size);
        status = print_map(out, &object.data.via.map, *width, why);
        if (!status) status = output_write(out, "\n", 1, why);
    }
    msgpack_unpacked_destroy(&object);
    return status;
}

/* ---- JSON to msgpack ---- */

/* Appends the numbers of a list and of the lists in it. */
static int gather(msgpack_sbuffer *numbers, const json_t *list, int width, struct fail *why)
{
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value)
    {
        if (json_is_array(value)) {
            if (gather(numbers, value, width, why)) return -1;
            continue;
        }
        json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
        if (n < 0 || n >= (INT64_C(1) << (8 * width)))
            return fail_input(why, "a list holds something that is no number below 2^%d",
                              8 * width);
        uint32_t number = (uint32_t)n;
        if (packed_write(numbers, (const char *)&number, (size_t)width))
            return fail(why, "out of memory");
    }
    return 0;
}

static int pack_value(msgpack_packer *pk, const json_t *value, struct fail *why);

static int pack_object(msgpack_packer *pk, const json_t *object, int width, struct fail *why)
{
    const char *key;
    json_t *value;
    msgpack_pack_map(pk, json_object_size(object));
    json_object_foreach((json_t *)object, key, value)
    {
        int each = json_is_array(value) ? width_of(key, strlen(key), width) : 0;
        msgpack_pack_str_with_body(pk, key, strlen(key));
        int status;
        if (each) {
            msgpack_sbuffer numbers;
            msgpack_sbuffer_init(&numbers);
            status = gather(&numbers, value, each, why);
            if (!status)
                msgpack_pack_bin_with_body(pk, numbers.data ? numbers.data : "", numbers.size);
            msgpack_sbuffer_destroy(&numbers);
        } else {
            status = pack_value(pk, value, why);
        }
        if (status) return fail_in(why, key);
    }
    return 0;
}

static int pack_value(msgpack_packer *pk, const json_t *value, struct fail *why)
{
    size_t i;
    json_t *element;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return pack_object(pk, value, 0, why);
    case JSON_ARRAY:
        msgpack_pack_array(pk, json_array_size(value));
        json_array_foreach(value, i, element) if (pack_value(pk, element, why)) return -1;
        return 0;
    case JSON_STRING:
        msgpack_pack_str_with_body(pk, json_string_value(value), json_string_length(value));
        return 0;
    case JSON_INTEGER:
        msgpack_pack_int64(pk, json_integer_value(value));
        return 0;
    case JSON_REAL:
        msgpack_pack_double(pk, json_real_value(value));
        return 0;
    case JSON_TRUE:
        msgpack_pack_true(pk);
        return 0;
    case JSON_FALSE:
        msgpack_pack_false(pk);
        return 0;
    default:
        return fail_input(why, "null has no place here");
    }
}

int stream_json_parse(msgpack_sbuffer *to, const char *line, size_t bytes, int *width,
                      struct fail *why)
{
    msgpack_packer pk;
    json_t *object = json_read_line(line, bytes, 0, why);
    if (!object) return fail_in(why, "not JSON");
    const char *dtype = json_string_value(json_object_get(object, "dtype"));
    if (dtype) *width = width_in_dtype(dtype, strlen(dtype));
    msgpack_packer_init(&pk, to, packed_write);
    int status = json_is_object(object) ? pack_object(&pk, object, *width, why)
                                        : fail_input(why, "not a JSON object");
    json_decref(object);
    if (!status && packed_is_lost(to)) status = fail(why, "out of memory");
    return status;
}
