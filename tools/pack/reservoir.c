#include "tools/pack/reservoir.h"

#include "tools/pack/spill.h"

struct reservoir {
    struct lots *lots;
    struct spill *spill;
};

int reservoir_open(struct reservoir **out, const struct draw *draw, struct fail *why)
{
    *out = NULL;
    struct reservoir *r = calloc(1, sizeof *r);
    if (!r) return fail(why, "out of memory");
    int status = spill_open(&r->spill, why);
    if (!status) status = lots_open(&r->lots, draw, why);
    if (status)
        reservoir_close(r);
    else
        *out = r;
    return status;
}

void reservoir_close(struct reservoir *r)
{
    if (!r) return;
    lots_close(r->lots);
    spill_close(r->spill);
    free(r);
}

int reservoir_offer(struct reservoir *r, const struct tokens *t, uint64_t number,
                    void (*dropped)(void *, uint64_t), void *arg, struct fail *why)
{
    struct lot lot = { .number = number, .tokens = t->count, .place = spill_end(r->spill) };
    int kept = lots_offer(r->lots, t->source, lot, dropped, arg, why);
    return kept <= 0 ? kept : spill_put(r->spill, t, 0, t->count, why);
}

int reservoir_drain(struct reservoir *r, int (*take)(void *, const struct tokens *, struct fail *),
                    void (*dropped)(void *, uint64_t), void *arg, struct fail *why)
{
    struct lot *lots;
    size_t count;
    struct tokens t = { 0 };
    if (lots_finish(r->lots, &lots, &count, dropped, arg, why)) return -1;
    int status = 0;
    for (size_t i = 0; i < count && !status; i++) {
        status = spill_get(r->spill, lots[i].place, &t, why);
        if (!status) status = take(arg, &t, why);
    }
    tokens_release(&t);
    free(lots);
    return status;
}
