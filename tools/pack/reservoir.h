/* reservoir.h - draws documents uniformly in one pass and bounded memory.
 *
 * It keeps the N documents with the smallest keyed hash of (seed, source, record number). The
 * choice does not depend on thread count or machine, so that anyone can check it. The tokens wait
 * in an unnamed file in TMPDIR.
 */
#ifndef LONGQLORA_RESERVOIR_H
#define LONGQLORA_RESERVOIR_H

#include "lib/stream/tokens.h"

struct quota {
    char source[SOURCE_MAX];
    uint64_t most;
};

/* How many documents are drawn: `samples` in total, or a number for each source that has a quota.
 *
 * Length upsampling (Fu et al. 2024, arXiv 2402.10171): a document of at least long_tokens takes
 * part in its source's draw with `tickets` hashes, of which the smallest is its rank. With
 * `samples`, each source keeps its share of the documents. */
struct draw {
    uint64_t seed, samples;
    const struct quota *quotas;
    size_t quota_count;
    uint64_t long_tokens, tickets; /* long_tokens 0: no upsampling */
};

struct reservoir;

int reservoir_open(struct reservoir **r, const struct draw *draw, struct fail *why) MUST_USE;
void reservoir_close(struct reservoir *r);

/* Returns the hash of a document. The documents with the smallest hashes are kept. */
uint64_t reservoir_rank(const struct draw *draw, const char *source, uint64_t number,
                        uint64_t tokens);

/* Offers document `number`. The function `dropped` is called for the document that is not kept,
 * which may be an older one or the new one itself. */
int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *arg, const char *source, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;
/* Passes the kept documents to `take` in the order of the input. */
int reservoir_drain(struct reservoir *r,
                    int (*take)(void *arg, const struct tokens *t, struct fail *why),
                    void (*dropped)(void *arg, const char *source, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;

#endif
