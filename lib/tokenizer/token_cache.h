/* token_cache.h - a cache of pre-tokens and their ids. Only tokenizer.c uses it.
 *
 * A look-up has two steps, between which the memory is fetched: token_cache_prefetch for about a
 * hundred pre-tokens, and then token_cache_look_up for all of them. Those that the cache lacks are
 * collected and merged together (bpe_merge_group), because the memory that one needs is then
 * fetched while others are merged. Until then their ids leave a hole in the buffer, so call
 * token_cache_finish at the end.
 */
#ifndef LONGQLORA_TOKENIZER_TOKEN_CACHE_H
#define LONGQLORA_TOKENIZER_TOKEN_CACHE_H

#include "lib/tokenizer/tokenizer_internal.h"

#include <xxhash.h>

enum {
    /* log2 of the number of sets in a large cache and in a small one. A set has two short
     * pre-tokens and fills one cache line. There is a place for a long pre-token for every four
     * sets. */
    CACHE_LARGE_LOG = 17,
    CACHE_SMALL_LOG = 10,
    CACHE_SHORT_BYTES = 15,
    CACHE_SHORT_IDS = 3,
    CACHE_LONG_BYTES = 40,
    CACHE_LONG_IDS = 12,
};

struct cache_short {
    uint64_t text[2]; /* the pre-token's bytes; the last byte holds its length */
    uint32_t ids[CACHE_SHORT_IDS], count;
};

struct cache_long {
    uint8_t length, count;
    char text[CACHE_LONG_BYTES];
    uint32_t ids[CACHE_LONG_IDS];
};

/* Zero it before token_cache_open; release it afterwards. */
struct token_cache {
    struct cache_short (*shorts)[2];
    struct cache_long *longs; /* after `shorts`, in the same memory */
    int short_log;
    struct cache_misses *misses;
    struct bpe_merger merger;
};
/* Empties the cache and allocates it, with two to the power of short_log sets. */
int token_cache_open(struct token_cache *k, int short_log, struct fail *why);
void token_cache_release(struct token_cache *k);

/* A pre-token that is about to be looked up: its key is made and its place in the cache is
 * prefetched. */
struct cache_query {
    uint64_t key[2];           /* of a long pre-token its address and its length */
    struct cache_short *set;   /* NULL for a long pre-token */
    struct cache_long *longer; /* its place, if it is long; NULL if it is too long */
};

static inline struct cache_long *cache_long_place(const struct token_cache *k, const char *text,
                                                  size_t bytes)
{
    return &k->longs[XXH3_64bits(text, bytes) % ((size_t)1 << (k->short_log - 2))];
}

/* Makes the key of a short pre-token: its bytes padded with zeros, and its length. Keys of
 * different pre-tokens differ. */
static inline void cache_make_key(uint64_t key[2], const char *text, size_t bytes)
{
    static const uint64_t ones[4] = { UINT64_MAX, UINT64_MAX, 0, 0 };
    uint64_t keep[2];
    memcpy(keep, (const char *)ones + 16 - bytes, 16);
    memcpy(key, text, 16);
    key[0] &= keep[0];
    key[1] &= keep[1];
    key[1] |= (uint64_t)bytes << 56;
}

/* Makes the key and prefetches the set. At least 16 bytes must be readable at text, however short
 * the pre-token is. */
static inline void token_cache_prefetch(const struct token_cache *k, struct cache_query *u,
                                        const char *text, size_t bytes)
{
    u->set = NULL;
    if (bytes > CACHE_SHORT_BYTES) {
        u->key[0] = (uintptr_t)text;
        u->key[1] = bytes;
        u->longer = bytes <= CACHE_LONG_BYTES ? cache_long_place(k, text, bytes) : NULL;
        __builtin_prefetch(u->longer);
        return;
    }
    cache_make_key(u->key, text, bytes);
    uint64_t hash = (u->key[0] ^ u->key[1] * 0xff51afd7ed558ccdu) * 0x9e3779b97f4a7c15u;
    u->set = k->shorts[hash >> (64 - k->short_log)];
    __builtin_prefetch(u->set);
}

/* Appends the ids of the pre-tokens, or leaves holes for them. The buffer must have space for
 * CACHE_SHORT_IDS + 1 ids more than all pre-tokens have. */
int token_cache_look_up(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b,
                        const struct cache_query *all, size_t count, struct fail *why);
/* Fills the holes. The text of the pre-tokens must still be there. */
void token_cache_finish(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b);

#endif
