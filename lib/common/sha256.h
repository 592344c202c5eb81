/* sha256.h - SHA-256 hashes as text, by which a run proves what it was made from and what it made
 * (docs/formats/proof.md).
 *
 * Source: FIPS 180-4, computed by Nettle. Other digests of this program are XXH3 (digest.h), which
 * finds damage but is not cryptographic.
 */
#ifndef LONGQLORA_SHA256_H
#define LONGQLORA_SHA256_H

#include "lib/common/digest.h"

enum { SHA256_TEXT = 65 }; /* 64 hexadecimal digits and the terminating zero */

/* Both write the digest in hexadecimal, as `sha256sum` prints it. */
void sha256_of_bytes(const void *data, size_t bytes, char text[SHA256_TEXT]);
/* Hashes all bytes of a regular file. In the same reading it computes the digest that digest_file
 * computes, unless digest is NULL. */
int sha256_file(const char *path, char text[SHA256_TEXT], char digest[DIGEST_TEXT],
                struct fail *why) MUST_USE;

#endif
