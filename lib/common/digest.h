/* digest.h - XXH3-128 hashes as text. Streams, files, tokenizers and base models are identified by
 * them.
 *
 * Source: xxHash, https://github.com/Cyan4973/xxHash. The hash is not cryptographic.
 */
#ifndef LONGQLORA_DIGEST_H
#define LONGQLORA_DIGEST_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <xxhash.h>

enum { DIGEST_TEXT = 33 }; /* 32 hexadecimal digits and the terminating zero */

/* Both write the canonical (big-endian) form in hexadecimal, as `xxhsum -H2` prints it. */
void digest_of_state(const XXH3_state_t *state, char text[DIGEST_TEXT]);
void digest_of_bytes(const void *data, size_t bytes, char text[DIGEST_TEXT]);
/* Makes of *sum, the digest of what came before, that of all of it together with what follows. An
 * empty *sum becomes `next` itself. The order matters. */
void digest_join(char sum[DIGEST_TEXT], const char next[DIGEST_TEXT]);
/* Hashes all bytes of a file. */
int digest_file(const char *path, char digest[DIGEST_TEXT], struct fail *why) MUST_USE;

#endif
