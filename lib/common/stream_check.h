/* stream_check.h - is this one well-formed msgpack object? Asked before msgpack-c
 * builds it, so that a count in hostile bytes never sizes an allocation.
 */
#ifndef LONGQLORA_STREAM_CHECK_H
#define LONGQLORA_STREAM_CHECK_H

#include <stddef.h>

/* Length of the object at the start of data; 0 if it is cut, nested deeper than
 * `depth`, or no msgpack. */
size_t stream_object_length(const unsigned char *data, size_t bytes, int depth);

#endif
