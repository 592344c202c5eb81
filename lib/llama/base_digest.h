/* base_digest.h - the digest that identifies the base of an adapter: XXH3-128 over the names,
 * types, shapes and data of its tensors (docs/formats/weights.md). */
#ifndef LONGQLORA_BASE_DIGEST_H
#define LONGQLORA_BASE_DIGEST_H

#include "lib/llama/weights.h"

/* Computes the digest. Reads all weights. */
void base_digest(const struct weights *w, char digest[STREAM_DIGEST_TEXT]);

/* Computes the digest in a thread, while the caller uses the tensors one after the other. The
 * thread reads each tensor first, so that the caller finds it in memory. It waits while it is
 * BASE_DIGEST_AHEAD bytes or more ahead of the caller. */
enum { BASE_DIGEST_AHEAD = 1 << 30 };
struct base_reading;
int base_reading_begin(struct base_reading **r, const struct weights *w, struct fail *why) MUST_USE;
/* Waits until the thread has read tensor i. The call also tells the thread that the caller no
 * longer uses the tensors before i. The function does not wait for a head that was copied from the
 * embedding (weights_untie), because it is not in the file. */
void base_reading_reach(struct base_reading *r, int64_t i);
/* Ends the thread. If digest is not NULL, it gets the digest; this requires that
 * base_reading_reach was called for all tensors. */
void base_reading_end(struct base_reading *r, char digest[STREAM_DIGEST_TEXT]);

#endif
