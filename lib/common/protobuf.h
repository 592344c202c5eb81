/* protobuf.h - how a field of a protocol buffer is stored: first a varint of (number << 3 | wire
 * type), then the value. Source: protobuf.dev, "Encoding".
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
