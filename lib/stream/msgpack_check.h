/* msgpack_check.h - is this one well-formed msgpack object? Asked before msgpack-c
 * builds it, so that a count in hostile bytes never sizes an allocation.
 */
#ifndef LONGQLORA_STREAM_MSGPACK_CHECK_H
#define LONGQLORA_STREAM_MSGPACK_CHECK_H

#include "lib/common/fail.h"

#include <msgpack.h>
#include <stddef.h>

/* *length is that of the object at the start of data. Fails if it is cut or no msgpack, nested
 * deeper than STREAM_DEPTH_MAX, or holds more than STREAM_VALUES_MAX values. */
int stream_object_length(const unsigned char *data, size_t bytes, size_t *length,
                         struct fail *why) MUST_USE;

/* Is it a header's key that says who wrote the stream, not what it is? */
bool stream_says_who_wrote_it(const msgpack_object *key);

#endif
