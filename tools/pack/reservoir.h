/* reservoir.h - a uniform draw of documents in one pass and bounded memory.
 *
 * The N documents with the smallest keyed hash of (seed, source, record number) are
 * kept: the same ones whatever the thread count or the machine, and anyone can
 * check it. Their tokens wait in an unnamed file of TMPDIR.
 */
#ifndef LONGQLORA_RESERVOIR_H
#define LONGQLORA_RESERVOIR_H

#include "../../lib/common/record_tokens.h"

struct quota {
    char source[SOURCE_MAX];
    uint64_t most;
};

struct reservoir;

/* One quota with an empty source stands for all documents together. */
int reservoir_open(struct reservoir **r, uint64_t seed, const struct quota *quotas, size_t count,
                   struct fail *why) MUST_USE;
void reservoir_close(struct reservoir *r);

/* The hash that decides. */
uint64_t reservoir_rank(uint64_t seed, const char *source, uint64_t number);

/* Offers document `number`. dropped: called for what it pushes out, or for itself. */
int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *arg, const char *source, uint64_t tokens), void *arg,
                    struct fail *why) MUST_USE;
/* Gives the survivors back in the order they came. */
int reservoir_drain(struct reservoir *r,
                    int (*take)(void *arg, const struct tokens *t, struct fail *why), void *arg,
                    struct fail *why) MUST_USE;

#endif
