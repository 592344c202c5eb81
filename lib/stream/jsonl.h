/* jsonl.h - writes and reads streams of tokens and samples as JSON lines: the header, one line for
 * each record, the end record. docs/formats/jsonl.md defines the form.
 *
 * A msgpack bin becomes a list of numbers; targets become pairs [start, end).
 */
#ifndef LONGQLORA_STREAM_JSONL_H
#define LONGQLORA_STREAM_JSONL_H

#include "lib/common/output.h"

#include <msgpack.h>

/* *width is how many bytes a token takes (2 or 4). Set it to 0 before the first call; the functions
 * set it when they see the header. */

/* Converts the msgpack maps in maps[bytes] to lines and writes them. */
int stream_json_print(struct output *out, const char *maps, size_t bytes, int *width,
                      struct fail *why) MUST_USE;
/* Converts a line's object to a msgpack map and appends it to *to. */
int stream_json_parse(msgpack_sbuffer *to, const char *line, size_t bytes, int *width,
                      struct fail *why) MUST_USE;

#endif
