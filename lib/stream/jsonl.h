/* jsonl.h - the view of tokens and samples as JSON lines: the header, a record a
 * line, the end record. docs/formats/jsonl.md.
 *
 * What a stream holds as bin is a list of numbers here; targets are pairs [start, end).
 */
#ifndef LONGQLORA_STREAM_JSONL_H
#define LONGQLORA_STREAM_JSONL_H

#include "lib/common/output.h"

#include <msgpack.h>

/* width: bytes of a token, taken from a header that passes; zero it before the first. */

/* Writes the msgpack maps in `bytes` as lines. */
int stream_json_print(struct output *out, const char *maps, size_t bytes, int *width,
                      struct fail *why) MUST_USE;
/* Appends the line's object as a msgpack map. */
int stream_json_parse(msgpack_sbuffer *to, const char *line, size_t bytes, int *width,
                      struct fail *why) MUST_USE;

#endif
