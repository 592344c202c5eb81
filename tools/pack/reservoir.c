#include "reservoir.h"

#include "../../lib/common/rng.h"

#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

struct kept {
    uint64_t rank, number, offset, tokens;
    uint32_t quota;
};

struct heap { /* largest rank on top */
    struct kept *at;
    size_t count, room;
};

struct reservoir {
    uint64_t seed, end; /* of the spilled bytes */
    struct quota *quotas;
    struct heap *heaps;
    size_t quota_count;
    FILE *spill;
};

uint64_t reservoir_rank(uint64_t seed, const char *source, uint64_t number)
{
    return rng_bits(rng_key(seed, "pack"), XXH3_64bits(source, strlen(source)), number);
}

int reservoir_open(struct reservoir **out, uint64_t seed, const struct quota *quotas, size_t count,
                   struct fail *why)
{
    *out = NULL;
    struct reservoir *r = calloc(1, sizeof *r);
    if (!r) return fail(why, "out of memory");
    r->seed = seed;
    r->quota_count = count;
    r->quotas = malloc(count * sizeof *quotas);
    r->heaps = calloc(count, sizeof *r->heaps);
    const char *directory = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/longqlora-pack-XXXXXX",
             directory && *directory ? directory : "/tmp");
    int fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
        r->spill = fdopen(fd, "w+");
    }
    if (!r->spill || !r->quotas || !r->heaps) {
        fail(why, "%s: cannot create: %s", path, strerror(errno));
        reservoir_close(r);
        return -1;
    }
    memcpy(r->quotas, quotas, count * sizeof *quotas);
    *out = r;
    return 0;
}

void reservoir_close(struct reservoir *r)
{
    if (!r) return;
    for (size_t i = 0; r->heaps && i < r->quota_count; i++)
        free(r->heaps[i].at);
    if (r->spill) fclose(r->spill);
    free(r->heaps);
    free(r->quotas);
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
    if (h->count == h->room) {
        size_t room = h->room ? 2 * h->room : 256;
        struct kept *grown = realloc(h->at, room * sizeof *grown);
        if (!grown) return fail(why, "out of memory");
        h->at = grown;
        h->room = room;
    }
    size_t i = h->count++;
    for (; i && above(&k, &h->at[(i - 1) / 2]); i = (i - 1) / 2)
        h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = k;
    return 0;
}

/* What a spilled document begins with; ids and targets follow. */
struct spilled {
    uint64_t count, target_count;
    bool has_targets;
    char source[SOURCE_MAX];
};

static int spill(struct reservoir *r, const struct tokens *t, struct fail *why)
{
    struct spilled head = { .count = t->count,
                            .target_count = t->target_count,
                            .has_targets = t->has_targets };
    memcpy(head.source, t->source, sizeof head.source);
    if (fwrite(&head, sizeof head, 1, r->spill) != 1 ||
        (t->count && fwrite(t->ids, 4, t->count, r->spill) != t->count) ||
        (t->target_count && fwrite(t->targets, 8, t->target_count, r->spill) != t->target_count))
        return fail(why, "temporary file: cannot write: %s", strerror(errno));
    r->end += sizeof head + 4 * t->count + 8 * t->target_count;
    return 0;
}

int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *, const char *, uint64_t), void *arg, struct fail *why)
{
    size_t q = 0;
    while (q < r->quota_count && r->quotas[q].source[0] &&
           strcmp(r->quotas[q].source, t->source) != 0)
        q++;
    struct kept k = { reservoir_rank(r->seed, t->source, number), number, r->end, t->count,
                      (uint32_t)q };
    struct heap *h = q < r->quota_count ? &r->heaps[q] : NULL;
    bool is_full = !h || h->count >= r->quotas[q].most;
    if (is_full && (!h || !h->count || !above(&h->at[0], &k))) {
        dropped(arg, t->source, t->count);
        return 0;
    }
    if (spill(r, t, why)) return -1;
    if (!is_full) return push(h, k, why);
    /* A single quota may hold many sources: the one pushed out is read back by its head. */
    struct spilled head;
    if (fseeko(r->spill, (off_t)h->at[0].offset, SEEK_SET) ||
        fread(&head, sizeof head, 1, r->spill) != 1 || fseeko(r->spill, (off_t)r->end, SEEK_SET))
        return fail(why, "temporary file: cannot read: %s", strerror(errno));
    dropped(arg, head.source, h->at[0].tokens);
    sift_down(h, k);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int unspill(struct reservoir *r, uint64_t offset, struct tokens *t, struct fail *why)
{
    struct spilled head;
    if (fseeko(r->spill, (off_t)offset, SEEK_SET) || fread(&head, sizeof head, 1, r->spill) != 1)
        return fail(why, "temporary file: cannot read: %s", strerror(errno));
    uint32_t *ids = realloc(t->ids, 4 * head.count + 1);
    if (ids) t->ids = ids;
    uint32_t *targets = realloc(t->targets, 8 * head.target_count + 1);
    if (targets) t->targets = targets;
    if (!ids || !targets) return fail(why, "out of memory");
    t->count = head.count;
    t->target_count = head.target_count;
    t->has_targets = head.has_targets;
    memcpy(t->source, head.source, sizeof t->source);
    if (fread(ids, 4, head.count, r->spill) != head.count ||
        fread(targets, 8, head.target_count, r->spill) != head.target_count)
        return fail(why, "temporary file: cannot read: %s", strerror(errno));
    return 0;
}

int reservoir_drain(struct reservoir *r, int (*take)(void *, const struct tokens *, struct fail *),
                    void *arg, struct fail *why)
{
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
    int status = fflush(r->spill) ? fail(why, "temporary file: %s", strerror(errno)) : 0;
    for (size_t i = 0; i < count && !status; i++) {
        status = unspill(r, all[i].offset, &t, why);
        if (!status) status = take(arg, &t, why);
    }
    tokens_release(&t);
    free(all);
    return status;
}
