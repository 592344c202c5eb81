/* wanted.h - what a stream of each kind is called, and which program makes one: for who
 * named another file.
 */
#ifndef LONGQLORA_STREAM_WANTED_H
#define LONGQLORA_STREAM_WANTED_H

#include "lib/stream/stream.h"

/* wanted: what it is and which program makes it. from_json: how that program makes one of JSON
 * lines, to be added to a message, or an empty text. Both are cut off at their sizes. */
void stream_wanted(enum stream_kind kind, char *wanted, size_t wanted_size, char *from_json,
                   size_t from_json_size);

#endif
