#include "tools/pack/best_fit.h"

/* The number of levels of the tree of bits. Each node is a word of 64 bits, so the tree has room
 * for 64^6 sizes. All sizes fit, because they are less than 2^32. */
enum { LEVELS = 6 };
#define NONE UINT32_MAX

/* Bins by their free space. For each size of free space there is a list of bins. A tree of bits
 * finds the next size whose list is not empty. */
struct bins_by_space {
    uint64_t *bits[LEVELS];
    uint32_t *head; /* [space + 1] the bin that was added last */
    uint32_t *next; /* [bins] the next bin of the same list */
};

static void mark(struct bins_by_space *r, uint32_t space)
{
    for (int l = 0; l < LEVELS; l++, space /= 64)
        r->bits[l][space / 64] |= UINT64_C(1) << (space % 64);
}

static void unmark(struct bins_by_space *r, uint32_t space)
{
    for (int l = 0; l < LEVELS; l++, space /= 64) {
        r->bits[l][space / 64] &= ~(UINT64_C(1) << (space % 64));
        if (r->bits[l][space / 64]) return;
    }
}

/* Returns the smallest free space of at least `wanted` that some bin has; NONE if no bin has it. */
static uint32_t find(const struct bins_by_space *r, uint32_t wanted, uint32_t max)
{
    uint64_t at = wanted;
    for (int l = 0; l < LEVELS; l++) {
        if (at / 64 > (uint64_t)max >> (6 * (l + 1))) return NONE;
        uint64_t word = r->bits[l][at / 64] >> (at % 64) << (at % 64);
        if (word) {
            at = at / 64 * 64 + (uint64_t)__builtin_ctzll(word);
            while (l-- > 0)
                at = at * 64 + (uint64_t)__builtin_ctzll(r->bits[l][at]);
            return (uint32_t)at;
        }
        at = at / 64 + 1;
    }
    return NONE;
}

static int bins_open(struct bins_by_space *r, uint32_t space, size_t bins, struct fail *why)
{
    *r = (struct bins_by_space){ 0 };
    uint64_t words = (uint64_t)space / 64 + 1;
    bool ok = true;
    for (int l = 0; l < LEVELS; l++, words = words / 64 + 1)
        ok &= (r->bits[l] = calloc(words + 1, sizeof **r->bits)) != NULL;
    r->head = malloc(((size_t)space + 1) * sizeof *r->head);
    r->next = malloc((bins + 1) * sizeof *r->next);
    if (!ok || !r->head || !r->next) return fail(why, "out of memory");
    memset(r->head, 0xff, ((size_t)space + 1) * sizeof *r->head);
    return 0;
}

static void bins_release(struct bins_by_space *r)
{
    for (int l = 0; l < LEVELS; l++)
        free(r->bits[l]);
    free(r->head);
    free(r->next);
}

static void put(struct bins_by_space *r, uint32_t bin, uint32_t space)
{
    r->next[bin] = r->head[space];
    r->head[space] = bin;
    mark(r, space);
}

static uint32_t take(struct bins_by_space *r, uint32_t space)
{
    uint32_t bin = r->head[space];
    r->head[space] = r->next[bin];
    if (r->head[space] == NONE) unmark(r, space);
    return bin;
}

/* Returns the pieces sorted by decreasing length. Pieces of equal length keep their order. */
static uint32_t *sorted(const uint32_t *lengths, size_t n, uint32_t space)
{
    size_t *start = calloc((size_t)space + 2, sizeof *start);
    uint32_t *order = calloc(n + 1, sizeof *order);
    if (start && order) {
        for (size_t i = 0; i < n; i++)
            start[space - lengths[i] + 1]++;
        for (size_t l = 1; l <= space; l++)
            start[l] += start[l - 1];
        for (size_t i = 0; i < n; i++)
            order[start[space - lengths[i]]++] = (uint32_t)i;
    } else {
        free(order);
        order = NULL;
    }
    free(start);
    return order;
}

int64_t best_fit(const uint32_t *lengths, size_t n, uint32_t space, uint32_t *bin, struct fail *why)
{
    struct bins_by_space r;
    if (n >= NONE) return fail(why, "%zu pieces are too many: at most 2^32 - 2", n);
    uint32_t *order = sorted(lengths, n, space), bins = 0;
    if (bins_open(&r, space, n, why) || !order) {
        bins_release(&r);
        free(order);
        return fail(why, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t piece = order[i], length = lengths[piece];
        must(length && length <= space);
        uint32_t found = find(&r, length, space);
        uint32_t into = found == NONE ? bins++ : take(&r, found);
        bin[piece] = into;
        uint32_t left = (found == NONE ? space : found) - length;
        if (left) put(&r, into, left);
    }
    bins_release(&r);
    free(order);
    return bins;
}
