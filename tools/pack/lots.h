/* lots.h - chooses documents at random, in one pass, without reading their tokens.
 *
 * Each document has a lot: a keyed hash of (seed, source, record number). The documents with the
 * smallest hashes are chosen. The choice does not depend on thread count or machine, so that anyone
 * can check it. Where the documents themselves are kept is the caller's business.
 */
#ifndef LONGQLORA_LOTS_H
#define LONGQLORA_LOTS_H

#include "lib/stream/tokens.h"

struct quota {
    char source[SOURCE_MAX];
    uint64_t max; /* how many documents of the source are drawn, if it has as many */
};

/* How many documents are drawn: `samples` in total, or a number for each source that has a quota.
 *
 * Length upsampling (Fu et al. 2024, arXiv 2402.10171): a document of at least long_tokens takes
 * part in its source's draw with `tickets` hashes, of which the smallest is its rank. With
 * `samples`, each source then keeps its share of the documents. */
struct draw {
    uint64_t seed, samples;
    const struct quota *quotas;
    size_t quota_count;
    uint64_t long_tokens, tickets; /* long_tokens 0: no upsampling */
};

/* A document in the draw. `number` is its record number, and `place` says where the caller keeps
 * it. lots_offer computes the rank. */
struct lot {
    uint64_t rank, number, tokens, place;
};

struct lots;

int lots_open(struct lots **l, const struct draw *draw, struct fail *why) MUST_USE;
void lots_close(struct lots *l);

/* Returns the hash of a document. The documents with the smallest hashes are chosen. */
uint64_t lots_rank(const struct draw *draw, const char *source, uint64_t number, uint64_t tokens);

/* Offers a document. The function `dropped` is called for the document that is not chosen, which
 * may be an older one or the new one itself. Returns 1 if the new one is chosen, which a later
 * document may change, 0 if it was dropped, or -1. */
int lots_offer(struct lots *l, const char *source, struct lot lot,
               void (*dropped)(void *arg, uint64_t tokens), void *arg, struct fail *why) MUST_USE;
/* Ends the draw. *chosen gets the chosen documents in the order of their numbers; the caller frees
 * it. */
int lots_finish(struct lots *l, struct lot **chosen, size_t *count,
                void (*dropped)(void *arg, uint64_t tokens), void *arg, struct fail *why) MUST_USE;

#endif
