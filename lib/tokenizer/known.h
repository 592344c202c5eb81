/* known.h - a cache of pre-tokens that were seen before, and their ids. Only tokenizer.c uses it.
 *
 * A look-up has two steps, between which the memory is fetched: known_await for about a hundred
 * pre-tokens, and then known_look_up for all of them. New pre-tokens are collected and merged
 * together (bpe_merge_group), because the memory that one needs is then fetched while others are
 * merged. Until then their ids leave a hole in the buffer, so call known_finish at the end.
 */
#ifndef LONGQLORA_TOKENIZER_KNOWN_H
#define LONGQLORA_TOKENIZER_KNOWN_H

#include "lib/tokenizer/tokenizer_internal.h"

#include <xxhash.h>

enum {
    /* log2 of the number of sets in a large cache and in a small one. A set has two short
     * pre-tokens and fills one cache line. There is a place for a long pre-token for every four
     * sets. */
    KNOWN_LARGE_LOG = 17,
    KNOWN_SMALL_LOG = 10,
    KNOWN_SHORT_BYTES = 15,
    KNOWN_SHORT_IDS = 3,
    KNOWN_LONG_BYTES = 40,
    KNOWN_LONG_IDS = 12,
};

struct known_short {
    uint64_t text[2]; /* the pre-token's bytes; the last byte holds its length */
    uint32_t ids[KNOWN_SHORT_IDS], count;
};

struct known_long {
    uint8_t length, count;
    char text[KNOWN_LONG_BYTES];
    uint32_t ids[KNOWN_LONG_IDS];
};

/* Zero it before known_open; release it afterwards. */
struct known {
    struct known_short (*shorts)[2];
    struct known_long *longs; /* after `shorts`, in the same memory */
    int short_log;
    struct known_new *new;
    struct bpe_merger merger;
};
/* Empties the cache and allocates it, with two to the power of short_log sets. */
int known_open(struct known *k, int short_log, struct fail *why);
void known_release(struct known *k);

/* A pre-token that is about to be looked up: its key is made and its place in the cache is
 * prefetched. */
struct known_waiting {
    uint64_t key[2];           /* of a long pre-token its address and its length */
    struct known_short *set;   /* NULL for a long pre-token */
    struct known_long *longer; /* its place, if it is long; NULL if it is too long */
};

static inline struct known_long *known_long_place(const struct known *k, const char *text,
                                                  size_t bytes)
{
    return &k->longs[XXH3_64bits(text, bytes) % ((size_t)1 << (k->short_log - 2))];
}

/* Makes the key of a short pre-token: its bytes padded with zeros, and its length. Keys of
 * different pre-tokens differ. */
static inline void known_make_key(uint64_t key[2], const char *text, size_t bytes)
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
static inline void known_await(const struct known *k, struct known_waiting *u, const char *text,
                               size_t bytes)
{
    u->set = NULL;
    if (bytes > KNOWN_SHORT_BYTES) {
        u->key[0] = (uintptr_t)text;
        u->key[1] = bytes;
        u->longer = bytes <= KNOWN_LONG_BYTES ? known_long_place(k, text, bytes) : NULL;
        __builtin_prefetch(u->longer);
        return;
    }
    known_make_key(u->key, text, bytes);
    uint64_t hash = (u->key[0] ^ u->key[1] * 0xff51afd7ed558ccdu) * 0x9e3779b97f4a7c15u;
    u->set = k->shorts[hash >> (64 - k->short_log)];
    __builtin_prefetch(u->set);
}

/* Appends the ids of the pre-tokens, or leaves holes for them. The buffer must have space for
 * KNOWN_SHORT_IDS + 1 ids more than all pre-tokens have. */
int known_look_up(const struct tokenizer *t, struct known *k, struct token_buffer *b,
                  const struct known_waiting *all, size_t count, struct fail *why);
/* Fills the holes. The text of the pre-tokens must still be there. */
void known_finish(const struct tokenizer *t, struct known *k, struct token_buffer *b);

#endif
