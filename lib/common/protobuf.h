/* protobuf.h - how a field of a protocol buffer is stored (protobuf.dev, "Encoding"): a varint of
 * its number << 3 | its wire type, then the value.
 */
#ifndef LONGQLORA_PROTOBUF_H
#define LONGQLORA_PROTOBUF_H

enum protobuf_wire {
    PROTOBUF_VARINT = 0,  /* integers, flags, enums */
    PROTOBUF_FIXED64 = 1, /* double */
    PROTOBUF_BYTES = 2,   /* texts and messages: a varint of their length, then the bytes */
    PROTOBUF_FIXED32 = 5, /* float */
};

#endif
