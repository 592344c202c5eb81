/* base_digest.h - what names the model that an adapter belongs to: XXH3-128 over names, types,
 * shapes and data of its tensors (docs/formats/weights.md).
 */
#ifndef LONGQLORA_BASE_DIGEST_H
#define LONGQLORA_BASE_DIGEST_H

#include "lib/llama/weights.h"

/* Reads all of the weights. */
void base_digest(const struct weights *w, char digest[STREAM_DIGEST_TEXT]);

/* The same by a thread, while tensors are used one after the other: it is the first to read each,
 * and at most BASE_DIGEST_AHEAD bytes before its user, so that what it read is still in memory. */
enum { BASE_DIGEST_AHEAD = 1 << 30 };
struct base_reading;
int base_reading_begin(struct base_reading **r, const struct weights *w, struct fail *why) MUST_USE;
/* Waits until tensor i was read. Those before it are done with. A head that was untied is not of
 * the source, and not waited for. */
void base_reading_reach(struct base_reading *r, int64_t i);
/* Ends it; the digest, unless NULL, once all tensors are reached. */
void base_reading_end(struct base_reading *r, char digest[STREAM_DIGEST_TEXT]);

#endif
