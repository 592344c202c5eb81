/* msgpack_check.h - checks that bytes are one well-formed msgpack object, before msgpack-c builds
 * it. Otherwise a large count in damaged or hostile bytes would make msgpack-c allocate too much.
 *
 * Source: the MessagePack specification, https://github.com/msgpack/msgpack/blob/master/spec.md
 */
#ifndef LONGQLORA_STREAM_MSGPACK_CHECK_H
#define LONGQLORA_STREAM_MSGPACK_CHECK_H

#include "lib/common/fail.h"

#include <msgpack.h>
#include <stddef.h>

/* *length becomes the length of the object at the start of data[bytes]. Fails if it is truncated
 * or not msgpack, is nested deeper than STREAM_DEPTH_MAX, or has more than STREAM_VALUES_MAX
 * values, or if a key of a map, at any depth, is not a text. */
int stream_object_length(const unsigned char *data, size_t bytes, size_t *length,
                         struct fail *why) MUST_USE;

/* Is the key of a header one of those that say by what the stream was written (tool, version,
 * options)? Such keys may have different values in streams that are concatenated. */
bool stream_is_provenance_key(const msgpack_object *key);

#endif
