/* digest.h - XXH3-128 as text: what names streams, files, tokenizers and bases. */
#ifndef LONGQLORA_DIGEST_H
#define LONGQLORA_DIGEST_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <xxhash.h>

enum { DIGEST_TEXT = 33 }; /* 32 hexadecimal digits and a zero */

/* The canonical (big-endian) form in hex, as xxhsum -H2 prints it. */
void digest_of_state(const XXH3_state_t *state, char text[DIGEST_TEXT]);
void digest_of_bytes(const void *data, size_t bytes, char text[DIGEST_TEXT]);
/* Of a file's bytes. */
int digest_file(const char *path, char digest[DIGEST_TEXT], struct fail *why) MUST_USE;

#endif
