/* reservoir.h - a uniform draw of documents in one pass and bounded memory.
 *
 * The N documents with the smallest keyed hash of (seed, source, record number) are
 * kept: the same ones whatever the thread count or the machine, and anyone can
 * check it. Their tokens wait in an unnamed file of TMPDIR.
 */
#ifndef LONGQLORA_RESERVOIR_H
#define LONGQLORA_RESERVOIR_H

#include "lib/stream/tokens.h"

struct quota {
    char source[SOURCE_MAX];
    uint64_t most;
};

/* What is drawn: so many samples of all, or of each source that has a quota.
 *
 * Length upsampling (Fu et al. 2024, arXiv 2402.10171): within its source, a document of at
 * least long_tokens is drawn as if it held `tickets` lots; its rank is its best lot's. With
 * `samples`, each source keeps the share of documents that it has. */
struct draw {
    uint64_t seed, samples;
    const struct quota *quotas;
    size_t quota_count;
    uint64_t long_tokens, tickets; /* 0: no upsampling */
};

struct reservoir;

int reservoir_open(struct reservoir **r, const struct draw *draw, struct fail *why) MUST_USE;
void reservoir_close(struct reservoir *r);

/* The hash that decides: the smallest win. */
uint64_t reservoir_rank(const struct draw *draw, const char *source, uint64_t number,
                        uint64_t tokens);

/* Offers document `number`. dropped: called for what it pushes out, or for itself. */
int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *arg, const char *source, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;
/* Gives the survivors back in the order they came. */
int reservoir_drain(struct reservoir *r,
                    int (*take)(void *arg, const struct tokens *t, struct fail *why),
                    void (*dropped)(void *arg, const char *source, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;

#endif
