#include "tools/pack/reservoir.h"

#include "lib/common/buffer.h"
#include "lib/common/rng.h"
#include "tools/pack/spill.h"

#include <xxhash.h>

struct kept {
    uint64_t rank, number, offset, tokens;
};

struct heap { /* the largest rank is on top */
    struct kept *at;
    size_t count, capacity;
};

struct reservoir {
    struct draw draw;
    struct quota *quotas;
    struct heap *heaps;
    uint64_t *offered; /* number of documents offered to each quota */
    size_t quota_count;
    struct spill *spill;
};

uint64_t reservoir_rank(const struct draw *d, const char *source, uint64_t number, uint64_t tokens)
{
    uint64_t key = rng_key(d->seed, "pack"), name = XXH3_64bits(source, strlen(source));
    uint64_t least = rng_bits(key, name, number);
    if (!d->long_tokens || tokens < d->long_tokens) return least;
    for (uint64_t ticket = 1; ticket < d->tickets; ticket++) {
        uint64_t rank = rng_bits(rng_key(d->seed + ticket, "pack: ticket"), name, number);
        if (rank < least) least = rank;
    }
    return least;
}

static int add_quota(struct reservoir *r, const char *source, uint64_t most, struct fail *why)
{
    if (buffer_extend(&r->quotas, r->quota_count, why) ||
        buffer_extend(&r->heaps, r->quota_count, why) ||
        buffer_extend(&r->offered, r->quota_count, why))
        return -1;
    size_t q = r->quota_count++;
    snprintf(r->quotas[q].source, sizeof r->quotas[q].source, "%s", source);
    r->quotas[q].most = most;
    r->heaps[q] = (struct heap){ 0 };
    r->offered[q] = 0;
    return 0;
}

int reservoir_open(struct reservoir **out, const struct draw *draw, struct fail *why)
{
    *out = NULL;
    struct reservoir *r = calloc(1, sizeof *r);
    if (!r) return fail(why, "out of memory");
    r->draw = *draw;
    int status = spill_open(&r->spill, why);
    for (size_t i = 0; i < draw->quota_count && !status; i++)
        status = add_quota(r, draw->quotas[i].source, draw->quotas[i].most, why);
    /* All sources share one heap, unless each source must keep its share. */
    if (!status && !draw->quota_count && !draw->long_tokens)
        status = add_quota(r, "", draw->samples, why);
    if (status)
        reservoir_close(r);
    else
        *out = r;
    return status;
}

void reservoir_close(struct reservoir *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->quota_count; i++)
        free(r->heaps[i].at);
    spill_close(r->spill);
    free(r->heaps);
    free(r->quotas);
    free(r->offered);
    free(r);
}

static bool above(const struct kept *a, const struct kept *b)
{
    return a->rank > b->rank || (a->rank == b->rank && a->number > b->number);
}

static void sift_down(struct heap *h, struct kept k)
{
    size_t i = 0, child;
    while ((child = 2 * i + 1) < h->count) {
        if (child + 1 < h->count && above(&h->at[child + 1], &h->at[child])) child++;
        if (!above(&h->at[child], &k)) break;
        h->at[i] = h->at[child];
        i = child;
    }
    h->at[i] = k;
}

static int push(struct heap *h, struct kept k, struct fail *why)
{
    if (buffer_reserve(&h->at, &h->capacity, h->count, 1, why)) return -1;
    size_t i = h->count++;
    for (; i && above(&k, &h->at[(i - 1) / 2]); i = (i - 1) / 2)
        h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = k;
    return 0;
}

/* Tells the caller which document was pushed out. A quota may hold documents of many sources, so
 * the document's source is read from the spill file. */
static int push_out(struct reservoir *r, const struct kept *k,
                    void (*dropped)(void *, const char *, uint64_t), void *arg, struct fail *why)
{
    char source[SOURCE_MAX];
    if (spill_source(r->spill, k->offset, source, why)) return -1;
    dropped(arg, source, k->tokens);
    return 0;
}

static int replace_top(struct reservoir *r, struct heap *h, struct kept k,
                       void (*dropped)(void *, const char *, uint64_t), void *arg, struct fail *why)
{
    if (push_out(r, &h->at[0], dropped, arg, why)) return -1;
    sift_down(h, k);
    return 0;
}

int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *, const char *, uint64_t), void *arg, struct fail *why)
{
    size_t q = 0;
    while (q < r->quota_count && r->quotas[q].source[0] &&
           strcmp(r->quotas[q].source, t->source) != 0)
        q++;
    bool keeps_shares = !r->draw.quota_count && r->draw.long_tokens;
    if (q == r->quota_count && keeps_shares && add_quota(r, t->source, r->draw.samples, why))
        return -1;
    struct kept k = { reservoir_rank(&r->draw, t->source, number, t->count), number,
                      spill_end(r->spill), t->count };
    if (q < r->quota_count) r->offered[q]++;
    struct heap *h = q < r->quota_count ? &r->heaps[q] : NULL;
    bool is_full = !h || h->count >= r->quotas[q].most;
    if (is_full && (!h || !h->count || !above(&h->at[0], &k))) {
        dropped(arg, t->source, t->count);
        return 0;
    }
    if (spill_put(r->spill, t, 0, t->count, why)) return -1;
    if (!is_full) return push(h, k, why);
    return replace_top(r, h, k, dropped, arg, why);
}

static int by_number(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Cuts each source's heap to its share of the samples by the largest-remainder method. If
 * remainders are equal, the earlier source gets the sample. */
static int keep_shares(struct reservoir *r, void (*dropped)(void *, const char *, uint64_t),
                       void *arg, struct fail *why)
{
    uint64_t all = 0, given = 0, samples = r->draw.samples;
    for (size_t q = 0; q < r->quota_count; q++)
        all += r->offered[q];
    if (samples >= all) return 0;
    uint64_t *remainder = calloc(r->quota_count + 1, sizeof *remainder);
    if (!remainder) return fail(why, "out of memory");
    for (size_t q = 0; q < r->quota_count; q++) {
        unsigned __int128 product = (unsigned __int128)samples * r->offered[q];
        r->quotas[q].most = (uint64_t)(product / all);
        remainder[q] = (uint64_t)(product % all) + 1;
        given += r->quotas[q].most;
    }
    for (; given < samples; given++) {
        size_t best = 0;
        for (size_t q = 1; q < r->quota_count; q++)
            if (remainder[q] > remainder[best]) best = q;
        r->quotas[best].most++;
        remainder[best] = 0;
    }
    free(remainder);
    for (size_t q = 0; q < r->quota_count; q++)
        for (struct heap *h = &r->heaps[q]; h->count > r->quotas[q].most;) {
            if (push_out(r, &h->at[0], dropped, arg, why)) return -1;
            struct kept last = h->at[--h->count];
            if (h->count) sift_down(h, last);
        }
    return 0;
}

int reservoir_drain(struct reservoir *r, int (*take)(void *, const struct tokens *, struct fail *),
                    void (*dropped)(void *, const char *, uint64_t), void *arg, struct fail *why)
{
    if (!r->draw.quota_count && r->draw.long_tokens && keep_shares(r, dropped, arg, why)) return -1;
    size_t count = 0;
    for (size_t q = 0; q < r->quota_count; q++)
        count += r->heaps[q].count;
    struct kept *all = malloc((count + 1) * sizeof *all);
    if (!all) return fail(why, "out of memory");
    count = 0;
    for (size_t q = 0; q < r->quota_count; q++) {
        if (r->heaps[q].count) memcpy(all + count, r->heaps[q].at, r->heaps[q].count * sizeof *all);
        count += r->heaps[q].count;
    }
    qsort(all, count, sizeof *all, by_number);
    struct tokens t = { 0 };
    int status = 0;
    for (size_t i = 0; i < count && !status; i++) {
        status = spill_get(r->spill, all[i].offset, &t, why);
        if (!status) status = take(arg, &t, why);
    }
    tokens_release(&t);
    free(all);
    return status;
}
