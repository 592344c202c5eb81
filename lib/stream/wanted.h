/* wanted.h - describes the stream that is wanted, and the program that makes it, for the message to
 * a user who gave another file. */
#ifndef LONGQLORA_STREAM_WANTED_H
#define LONGQLORA_STREAM_WANTED_H

#include "lib/stream/stream.h"

/* Writes into wanted[wanted_size] what the kind is and which program makes it. Writes into
 * from_json[from_json_size] how that program makes it from JSON lines, to be appended to a message,
 * or "". Both are cut off at their sizes. */
void stream_wanted(enum stream_kind kind, char *wanted, size_t wanted_size, char *from_json,
                   size_t from_json_size);

#endif
