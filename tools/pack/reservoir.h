/* reservoir.h - draws documents in one pass and bounded memory.
 *
 * lots.h chooses the documents. Their tokens wait in an unnamed file in TMPDIR.
 */
#ifndef LONGQLORA_RESERVOIR_H
#define LONGQLORA_RESERVOIR_H

#include "tools/pack/lots.h"

struct reservoir;

int reservoir_open(struct reservoir **r, const struct draw *draw, struct fail *why) MUST_USE;
void reservoir_close(struct reservoir *r);

/* Offers document `number`. The function `dropped` is called for the document that is not kept,
 * which may be an older one or the new one itself. */
int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *arg, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;
/* Passes the kept documents to `take` in the order of the input. */
int reservoir_drain(struct reservoir *r,
                    int (*take)(void *arg, const struct tokens *t, struct fail *why),
                    void (*dropped)(void *arg, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;

#endif
