/* spill.h - stores documents in an unnamed file in TMPDIR, or in /tmp if TMPDIR is not set.
 */
#ifndef LONGQLORA_SPILL_H
#define LONGQLORA_SPILL_H

#include "lib/stream/tokens.h"

struct spill;

int spill_open(struct spill **s, struct fail *why) MUST_USE;
void spill_close(struct spill *s);
/* Returns the offset that the next document will have. */
uint64_t spill_end(const struct spill *s);
/* Stores tokens [from, to) of a document and the target ranges inside them. */
int spill_put(struct spill *s, const struct tokens *t, size_t from, size_t to,
              struct fail *why) MUST_USE;
/* Reads the document at an offset into *t, whose buffers are reused from call to call. The caller
 * finally calls tokens_release. */
int spill_get(struct spill *s, uint64_t offset, struct tokens *t, struct fail *why) MUST_USE;

#endif
