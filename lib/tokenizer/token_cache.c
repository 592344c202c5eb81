#include "lib/tokenizer/token_cache.h"

enum {
    HOLES_MAX = 64,
    /* Counts of ids. MANY_IDS: they are among the long pre-tokens, or were there. NO_IDS: they are
     * not known yet, and the first id is the place of the pre-token among the new ones. */
    MANY_IDS = CACHE_SHORT_IDS + 1,
    NO_IDS,
};

static const char *long_text(const struct cache_query *u)
{
    return (const char *)(uintptr_t)u->key[0];
}

/* Returns the entry of a short pre-token; NULL if its set has none. */
static inline struct cache_short *find_short(struct cache_short *set, const uint64_t key[2])
{
    uint64_t differs0 = (set[0].text[0] ^ key[0]) | (set[0].text[1] ^ key[1]);
    uint64_t differs1 = (set[1].text[0] ^ key[0]) | (set[1].text[1] ^ key[1]);
    return differs0 && differs1 ? NULL : set + (differs0 != 0);
}

/* Appends the ids of a pre-token that is in its set. Returns the place after the ids, or NULL if
 * the set does not have them. A new pre-token takes the second entry of its set, and the first when
 * it occurs again. So pre-tokens that occur once do not replace those that occur often. */
static inline uint32_t *take_cached(const struct cache_query *u, uint32_t *to)
{
    struct cache_short *set = u->set, *found = set ? find_short(set, u->key) : NULL;
    if (!found || found->count > CACHE_SHORT_IDS) return NULL;
    if (found != set) {
        struct cache_short first = set[0];
        set[0] = *found;
        *found = first;
        found = set;
    }
    /* One load and one store copy the ids and the count. */
    memcpy(to, (const char *)found + offsetof(struct cache_short, ids), 4 * (CACHE_SHORT_IDS + 1));
    return to + found->count;
}

/* ---- new pre-tokens are collected, because they are merged faster together ---- */

/* Pre-tokens that are not in the cache, and the places of the buffer where their ids belong. */
struct cache_misses {
    struct bpe_pre_token group[BPE_GROUP];
    struct cache_query from[BPE_GROUP];
    int count, holes;
    struct {
        size_t at; /* how many ids come before it, without those of other holes */
        int miss;  /* index in `group` */
    } hole[HOLES_MAX];
};

/* Puts the ids of the new pre-tokens into their holes, the last one first. Counts what is dropped
 * for each hole, because a pre-token may have several. */
static void fill_holes(struct token_buffer *b, const struct cache_misses *misses, uint64_t *dropped)
{
    size_t end = b->count, more = 0;
    for (int h = 0; h < misses->holes; h++) {
        more += misses->group[misses->hole[h].miss].count;
        *dropped += misses->group[misses->hole[h].miss].dropped;
    }
    b->count += more;
    for (int h = misses->holes; h-- > 0;) {
        const struct bpe_pre_token *p = &misses->group[misses->hole[h].miss];
        size_t at = misses->hole[h].at;
        memmove(b->ids + at + more, b->ids + at, (end - at) * sizeof *b->ids);
        more -= p->count;
        memcpy(b->ids + at + more, p->ids, p->count * sizeof *b->ids);
        end = at;
    }
}

static void store_long(struct cache_long *u, const char *text, size_t bytes, const uint32_t *ids,
                       size_t count)
{
    u->length = (uint8_t)bytes;
    u->count = (uint8_t)count;
    memcpy(u->text, text, bytes);
    memcpy(u->ids, ids, count * sizeof *u->ids);
}

/* Stores the ids of a new pre-token in the cache. Not if characters were dropped, because a look-up
 * would not count them. */
static void store(const struct token_cache *k, const struct cache_query *from,
                  const struct bpe_pre_token *p)
{
    bool is_kept = !p->dropped && p->count <= CACHE_LONG_IDS;
    if (is_kept && (!from->set || p->count > CACHE_SHORT_IDS))
        store_long(cache_long_place(k, p->text, p->bytes), p->text, p->bytes, p->ids, p->count);
    struct cache_short *entry = from->set ? find_short(from->set, from->key) : NULL;
    if (!entry) return;
    if (!is_kept) {
        *entry = (struct cache_short){ 0 };
    } else if (p->count > CACHE_SHORT_IDS) {
        entry->count = MANY_IDS;
    } else {
        memcpy(entry->ids, p->ids, p->count * sizeof *p->ids);
        entry->count = (uint32_t)p->count;
    }
}

/* Merges the new pre-tokens that were collected. */
void token_cache_finish(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b)
{
    struct cache_misses *misses = k->misses;
    bpe_merge_group(t, &k->merger, misses->group, misses->count);
    fill_holes(b, misses, &k->merger.dropped);
    for (int i = 0; i < misses->count; i++)
        store(k, &misses->from[i], &misses->group[i]);
    misses->count = misses->holes = 0;
}

static void leave_hole(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b,
                       int at)
{
    struct cache_misses *misses = k->misses;
    misses->hole[misses->holes].at = b->count;
    misses->hole[misses->holes++].miss = at;
    if (misses->count == BPE_GROUP || misses->holes == HOLES_MAX) token_cache_finish(t, k, b);
}

/* Collects a pre-token of at most BPE_SHORT_MAX bytes. A short one gets an entry at once, so that
 * it is collected only once if it occurs again soon. */
static void collect(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b,
                    const struct cache_query *u)
{
    struct cache_misses *misses = k->misses;
    int i = misses->count++;
    struct cache_query *from = &misses->from[i];
    *from = *u;
    misses->group[i].text = u->set ? (const char *)from->key : long_text(u);
    misses->group[i].bytes = u->set ? u->key[1] >> 56 : u->key[1];
    struct cache_short *set = u->set;
    if (set && !find_short(set, u->key))
        set[set[0].count != 0] =
            (struct cache_short){ { u->key[0], u->key[1] }, { (uint32_t)i }, NO_IDS };
    leave_hole(t, k, b, i);
}

/* Appends the ids of a pre-token from the table of long ones, if they are there. */
static bool take_long(struct token_buffer *b, const struct cache_long *u, const char *text,
                      size_t bytes)
{
    if (u->length != bytes || memcmp(u->text, text, bytes) != 0) return false;
    memcpy(b->ids + b->count, u->ids, u->count * sizeof *u->ids);
    b->count += u->count;
    return true;
}

/* Encodes a pre-token of more than BPE_SHORT_MAX bytes. */
static int encode_long(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b,
                       const struct cache_query *u, struct fail *why)
{
    struct bpe_merger *w = &k->merger;
    bool after_unknown = false;
    size_t first = b->count, bytes = u->key[1];
    uint64_t dropped = w->dropped;
    if (bpe_merge_pre_token(t, w, b, long_text(u), bytes, &after_unknown, why)) return -1;
    size_t count = b->count - first;
    if (u->longer && count <= CACHE_LONG_IDS && w->dropped == dropped)
        store_long(u->longer, long_text(u), bytes, b->ids + first, count);
    return 0;
}

/* Encodes a pre-token that is not short, or whose ids are not in its set. */
static int encode_other(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b,
                        const struct cache_query *u, struct fail *why)
{
    const char *text = u->set ? (const char *)u->key : long_text(u);
    size_t bytes = u->set ? u->key[1] >> 56 : u->key[1];
    const struct cache_short *entry = u->set ? find_short(u->set, u->key) : NULL;
    if (entry && entry->count == NO_IDS) {
        leave_hole(t, k, b, (int)entry->ids[0]);
        return 0;
    }
    if (!u->set && u->longer && take_long(b, u->longer, text, bytes)) return 0;
    if (entry && take_long(b, cache_long_place(k, text, bytes), text, bytes)) return 0;
    if (bytes > BPE_SHORT_MAX) return encode_long(t, k, b, u, why);
    collect(t, k, b, u);
    return 0;
}

int token_cache_look_up(const struct tokenizer *t, struct token_cache *k, struct token_buffer *b,
                        const struct cache_query *all, size_t count, struct fail *why)
{
    uint32_t *to = b->ids + b->count;
    for (size_t i = 0; i < count; i++) {
        uint32_t *end = take_cached(&all[i], to);
        if (!end) {
            b->count = (size_t)(to - b->ids);
            if (encode_other(t, k, b, &all[i], why)) return -1;
            end = b->ids + b->count;
        }
        to = end;
    }
    b->count = (size_t)(to - b->ids);
    return 0;
}

/* ---- memory ---- */

int token_cache_open(struct token_cache *k, int short_log, struct fail *why)
{
    size_t short_bytes = sizeof *k->shorts << short_log;
    token_cache_release(k);
    k->misses = calloc(1, sizeof *k->misses);
    k->shorts = tokenizer_table(short_bytes + (sizeof *k->longs << (short_log - 2)));
    if (!k->shorts || !k->misses) return fail(why, "out of memory");
    k->longs = (struct cache_long *)((char *)k->shorts + short_bytes);
    k->short_log = short_log;
    return 0;
}

void token_cache_release(struct token_cache *k)
{
    bpe_merger_release(&k->merger);
    free(k->shorts);
    free(k->misses);
    *k = (struct token_cache){ 0 };
}
