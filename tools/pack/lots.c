#include "tools/pack/lots.h"

#include "lib/common/buffer.h"
#include "lib/common/rng.h"

#include <xxhash.h>

struct heap { /* the largest rank is on top */
    struct lot *at;
    size_t count, capacity;
};

struct lots {
    struct draw draw;
    struct quota *quotas;
    struct heap *heaps;
    uint64_t *offered; /* number of documents offered to each quota */
    size_t quota_count;
};

uint64_t lots_rank(const struct draw *d, const char *source, uint64_t number, uint64_t tokens)
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

static int add_quota(struct lots *l, const char *source, uint64_t max, struct fail *why)
{
    if (buffer_extend(&l->quotas, l->quota_count, why) ||
        buffer_extend(&l->heaps, l->quota_count, why) ||
        buffer_extend(&l->offered, l->quota_count, why))
        return -1;
    size_t q = l->quota_count++;
    snprintf(l->quotas[q].source, sizeof l->quotas[q].source, "%s", source);
    l->quotas[q].max = max;
    l->heaps[q] = (struct heap){ 0 };
    l->offered[q] = 0;
    return 0;
}

int lots_open(struct lots **out, const struct draw *draw, struct fail *why)
{
    *out = NULL;
    struct lots *l = calloc(1, sizeof *l);
    if (!l) return fail(why, "out of memory");
    l->draw = *draw;
    int status = 0;
    for (size_t i = 0; i < draw->quota_count && !status; i++)
        status = add_quota(l, draw->quotas[i].source, draw->quotas[i].max, why);
    /* All sources share one heap, unless each source must keep its share. */
    if (!status && !draw->quota_count && !draw->long_tokens)
        status = add_quota(l, "", draw->samples, why);
    if (status)
        lots_close(l);
    else
        *out = l;
    return status;
}

void lots_close(struct lots *l)
{
    if (!l) return;
    for (size_t i = 0; i < l->quota_count; i++)
        free(l->heaps[i].at);
    free(l->heaps);
    free(l->quotas);
    free(l->offered);
    free(l);
}

static bool above(const struct lot *a, const struct lot *b)
{
    return a->rank > b->rank || (a->rank == b->rank && a->number > b->number);
}

static void sift_down(struct heap *h, struct lot k)
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

static int push(struct heap *h, struct lot k, struct fail *why)
{
    if (buffer_reserve(&h->at, &h->capacity, h->count, 1, why)) return -1;
    size_t i = h->count++;
    for (; i && above(&k, &h->at[(i - 1) / 2]); i = (i - 1) / 2)
        h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = k;
    return 0;
}

int lots_offer(struct lots *l, const char *source, struct lot lot,
               void (*dropped)(void *, uint64_t), void *arg, struct fail *why)
{
    size_t q = 0;
    while (q < l->quota_count && l->quotas[q].source[0] && strcmp(l->quotas[q].source, source) != 0)
        q++;
    bool keeps_shares = !l->draw.quota_count && l->draw.long_tokens;
    if (q == l->quota_count && keeps_shares && add_quota(l, source, l->draw.samples, why))
        return -1;
    lot.rank = lots_rank(&l->draw, source, lot.number, lot.tokens);
    if (q < l->quota_count) l->offered[q]++;
    struct heap *h = q < l->quota_count ? &l->heaps[q] : NULL;
    bool is_full = !h || h->count >= l->quotas[q].max;
    if (is_full && (!h || !h->count || !above(&h->at[0], &lot))) {
        dropped(arg, lot.tokens);
        return 0;
    }
    if (!is_full) return push(h, lot, why) ? -1 : 1;
    dropped(arg, h->at[0].tokens);
    sift_down(h, lot);
    return 1;
}

static int by_number(const void *a, const void *b)
{
    const struct lot *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Cuts each source's heap to its share of the documents that are drawn, by the largest-remainder
 * method. If remainders are equal, the earlier source gets the document. */
static int keep_shares(struct lots *l, void (*dropped)(void *, uint64_t), void *arg,
                       struct fail *why)
{
    uint64_t all = 0, given = 0, samples = l->draw.samples;
    for (size_t q = 0; q < l->quota_count; q++)
        all += l->offered[q];
    if (samples >= all) return 0;
    uint64_t *remainder = calloc(l->quota_count + 1, sizeof *remainder);
    if (!remainder) return fail(why, "out of memory");
    for (size_t q = 0; q < l->quota_count; q++) {
        unsigned __int128 product = (unsigned __int128)samples * l->offered[q];
        l->quotas[q].max = (uint64_t)(product / all);
        remainder[q] = (uint64_t)(product % all) + 1;
        given += l->quotas[q].max;
    }
    for (; given < samples; given++) {
        size_t best = 0;
        for (size_t q = 1; q < l->quota_count; q++)
            if (remainder[q] > remainder[best]) best = q;
        l->quotas[best].max++;
        remainder[best] = 0;
    }
    free(remainder);
    for (size_t q = 0; q < l->quota_count; q++)
        for (struct heap *h = &l->heaps[q]; h->count > l->quotas[q].max;) {
            dropped(arg, h->at[0].tokens);
            struct lot last = h->at[--h->count];
            if (h->count) sift_down(h, last);
        }
    return 0;
}

int lots_finish(struct lots *l, struct lot **chosen, size_t *count,
                void (*dropped)(void *, uint64_t), void *arg, struct fail *why)
{
    if (!l->draw.quota_count && l->draw.long_tokens && keep_shares(l, dropped, arg, why)) return -1;
    size_t all = 0, n = 0;
    for (size_t q = 0; q < l->quota_count; q++)
        all += l->heaps[q].count;
    struct lot *lots = malloc((all + 1) * sizeof *lots);
    if (!lots) return fail(why, "out of memory");
    for (size_t q = 0; q < l->quota_count; q++) {
        if (l->heaps[q].count) memcpy(lots + n, l->heaps[q].at, l->heaps[q].count * sizeof *lots);
        n += l->heaps[q].count;
    }
    qsort(lots, n, sizeof *lots, by_number);
    *chosen = lots;
    *count = n;
    return 0;
}
