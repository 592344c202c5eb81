/* spill.h - documents that wait in an unnamed file of TMPDIR. */
#ifndef LONGQLORA_SPILL_H
#define LONGQLORA_SPILL_H

#include "lib/stream/tokens.h"

struct spill;

int spill_open(struct spill **s, struct fail *why) MUST_USE;
void spill_close(struct spill *s);
/* Where the next document will lie. */
uint64_t spill_end(const struct spill *s);
/* Tokens [from, to) of a document, and the targets among them. */
int spill_put(struct spill *s, const struct tokens *t, size_t from, size_t to,
              struct fail *why) MUST_USE;
/* The document at an offset; *t is reused from call to call. */
int spill_get(struct spill *s, uint64_t offset, struct tokens *t, struct fail *why) MUST_USE;
/* Only its source, [SOURCE_MAX]. */
int spill_source(struct spill *s, uint64_t offset, char *source, struct fail *why) MUST_USE;

#endif
