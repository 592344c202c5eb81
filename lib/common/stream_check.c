#include "stream_check.h"

#include <stdint.h>

static uint64_t big_endian(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* What follows a type byte: so many bytes of length, so many of payload for each
 * unit of it, or so many objects for each. (MessagePack specification.) */
struct shape {
    int length_bytes;
    uint64_t fixed;
    int bytes_each, objects_each;
};

static int shape_of(unsigned char type, struct shape *s)
{
    *s = (struct shape){ 0 };
    if (type <= 0x7f || type >= 0xe0 || type == 0xc0 || type == 0xc2 || type == 0xc3) return 1;
    if (type <= 0x8f)
        *s = (struct shape){ 0, type & 15, 0, 2 };
    else if (type <= 0x9f)
        *s = (struct shape){ 0, type & 15, 0, 1 };
    else if (type <= 0xbf)
        *s = (struct shape){ 0, type & 31, 1, 0 };
    else if (type >= 0xc4 && type <= 0xc6)
        *s = (struct shape){ 1 << (type - 0xc4), 0, 1, 0 };
    else if (type == 0xca)
        *s = (struct shape){ 0, 4, 1, 0 };
    else if (type == 0xcb)
        *s = (struct shape){ 0, 8, 1, 0 };
    else if (type >= 0xcc && type <= 0xcf)
        *s = (struct shape){ 0, 1u << (type - 0xcc), 1, 0 };
    else if (type >= 0xd0 && type <= 0xd3)
        *s = (struct shape){ 0, 1u << (type - 0xd0), 1, 0 };
    else if (type >= 0xd9 && type <= 0xdb)
        *s = (struct shape){ 1 << (type - 0xd9), 0, 1, 0 };
    else if (type == 0xdc || type == 0xdd)
        *s = (struct shape){ type == 0xdc ? 2 : 4, 0, 0, 1 };
    else if (type == 0xde || type == 0xdf)
        *s = (struct shape){ type == 0xde ? 2 : 4, 0, 0, 2 };
    else
        return 0; /* 0xc1 and extension types: not used in our streams */
    return 1;
}

size_t stream_object_length(const unsigned char *data, size_t bytes, int depth)
{
    struct shape s;
    if (!bytes || !shape_of(data[0], &s)) return 0;
    size_t used = 1 + (size_t)s.length_bytes;
    if (used > bytes) return 0;
    uint64_t count = s.length_bytes ? big_endian(data + 1, s.length_bytes) : s.fixed;
    if (s.objects_each) {
        if (depth <= 1 || count * (uint64_t)s.objects_each > bytes - used) return 0;
        for (uint64_t i = 0; i < count * (uint64_t)s.objects_each; i++) {
            size_t n = stream_object_length(data + used, bytes - used, depth - 1);
            if (!n) return 0;
            used += n;
        }
        return used;
    }
    if (count * (uint64_t)s.bytes_each > bytes - used) return 0;
    return used + (size_t)count * (size_t)s.bytes_each;
}
