/* json_plain.h - finds the end of a run of plain characters in a JSON string, 32 bytes at a time
 * where the CPU has AVX2, and else 8. */
#ifndef LONGQLORA_JSON_PLAIN_H
#define LONGQLORA_JSON_PLAIN_H

#include <stddef.h>

enum { JSON_PLAIN_SLACK = 64 };

/* Returns how many of the first bytes of from[bytes] are plain: ASCII, but neither '"' nor '\' nor
 * a control character below U+0020. Copies them to `to`, which must have space for bytes +
 * JSON_PLAIN_SLACK; the bytes after the run may be overwritten. If `to` is NULL, copies nothing. */
size_t json_plain(const char *from, size_t bytes, char *to);

#endif
