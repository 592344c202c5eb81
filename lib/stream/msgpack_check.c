#include "lib/stream/msgpack_check.h"

#include "lib/stream/stream.h"

static uint64_t big_endian(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* What follows a type byte (MessagePack specification). First comes a count, stored in
 * `length_bytes` bytes; if length_bytes is 0, the type implies the count `fixed`. Then come
 * count · bytes_each bytes of payload, or count · objects_each objects. */
struct object_shape {
    int length_bytes;
    uint64_t fixed;
    int bytes_each, objects_each;
};

static int shape_of(unsigned char type, struct object_shape *s)
{
    *s = (struct object_shape){ 0 };
    if (type <= 0x7f || type >= 0xe0 || type == 0xc0 || type == 0xc2 || type == 0xc3) return 1;
    if (type <= 0x8f)
        *s = (struct object_shape){ 0, type & 15, 0, 2 };
    else if (type <= 0x9f)
        *s = (struct object_shape){ 0, type & 15, 0, 1 };
    else if (type <= 0xbf)
        *s = (struct object_shape){ 0, type & 31, 1, 0 };
    else if (type >= 0xc4 && type <= 0xc6)
        *s = (struct object_shape){ 1 << (type - 0xc4), 0, 1, 0 };
    else if (type == 0xca)
        *s = (struct object_shape){ 0, 4, 1, 0 };
    else if (type == 0xcb)
        *s = (struct object_shape){ 0, 8, 1, 0 };
    else if (type >= 0xcc && type <= 0xcf)
        *s = (struct object_shape){ 0, 1u << (type - 0xcc), 1, 0 };
    else if (type >= 0xd0 && type <= 0xd3)
        *s = (struct object_shape){ 0, 1u << (type - 0xd0), 1, 0 };
    else if (type >= 0xd9 && type <= 0xdb)
        *s = (struct object_shape){ 1 << (type - 0xd9), 0, 1, 0 };
    else if (type == 0xdc || type == 0xdd)
        *s = (struct object_shape){ type == 0xdc ? 2 : 4, 0, 0, 1 };
    else if (type == 0xde || type == 0xdf)
        *s = (struct object_shape){ type == 0xde ? 2 : 4, 0, 0, 2 };
    else
        return 0; /* 0xc1 and extension types are not used in streams */
    return 1;
}

/* The rest of the bytes that are checked, and how many more values the object may have. */
struct rest {
    const unsigned char *at;
    size_t bytes;
    uint64_t values;
    struct fail *why;
};

static int no_object(struct rest *r) { return fail_input(r->why, "not a msgpack object"); }

static int skip(struct rest *r, uint64_t bytes)
{
    if (bytes > r->bytes) return no_object(r);
    r->at += bytes;
    r->bytes -= (size_t)bytes;
    return 0;
}

/* Fails unless the next object is a text, so that whoever reads a map's key may take it for one. */
static int check_key(const struct rest *r)
{
    enum { STR_8 = 0xd9, STR_32 = 0xdb };
    if (!r->bytes) return 0; /* skip_object refuses the end of the bytes */
    bool is_text = (*r->at & 0xe0) == 0xa0 || (*r->at >= STR_8 && *r->at <= STR_32);
    return is_text ? 0 : fail_input(r->why, "a key is not a text");
}

static int skip_object(struct rest *r, int depth)
{
    struct object_shape s;
    if (!depth) return fail_input(r->why, "nested deeper than %d", STREAM_DEPTH_MAX);
    if (!r->values)
        return fail_input(r->why, "an object has more than %d values", STREAM_VALUES_MAX);
    if (!r->bytes || !shape_of(*r->at, &s)) return no_object(r);
    const unsigned char *count_at = r->at + 1;
    if (skip(r, 1 + (uint64_t)s.length_bytes)) return -1;
    uint64_t count = s.length_bytes ? big_endian(count_at, s.length_bytes) : s.fixed;
    r->values--;
    if (!s.objects_each) return skip(r, count * (uint64_t)s.bytes_each);
    uint64_t objects = count * (uint64_t)s.objects_each;
    if (objects > r->bytes) return no_object(r);
    for (uint64_t i = 0; i < objects; i++)
        if ((s.objects_each == 2 && i % 2 == 0 && check_key(r)) || skip_object(r, depth - 1))
            return -1;
    return 0;
}

int stream_object_length(const unsigned char *data, size_t bytes, size_t *length, struct fail *why)
{
    struct rest r = { data, bytes, STREAM_VALUES_MAX, why };
    if (skip_object(&r, STREAM_DEPTH_MAX)) return -1;
    *length = bytes - r.bytes;
    return 0;
}

bool stream_is_provenance_key(const msgpack_object *key)
{
    static const char *const names[] = { "tool", "version", "options" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (key->via.str.size == strlen(names[i]) &&
            !memcmp(key->via.str.ptr, names[i], key->via.str.size))
            return true;
    return false;
}
