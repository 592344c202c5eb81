#include "tools/ppl/turns.h"

#include "lib/common/arithmetic.h"
#include "lib/common/clock.h"

#include <math.h>
#include <stdlib.h>

/* A turn ends after BATCHES_OF_A_TURN batches of each group, or earlier if a group would have more
 * than VALUES_OF_A_TURN values. Several batches even out samples of different lengths. */
enum { BATCHES_OF_A_TURN = 8, VALUES_OF_A_TURN = 1 << 20 };

/* One turn: the batches [first, end). Each rank has a buffer of `size` values. */
struct turn {
    int64_t first, end, size;
};

/* Returns how many groups of ranks there are. The ranks of a group have the same losses. */
static int64_t groups_of(const struct turns *t) { return ranks_place(t->ranks)->count / t->group; }

/* Returns the largest number of values that a group has in the batches [first, end). */
static int64_t most_values(const struct turns_work *w, int64_t first, int64_t end, int64_t groups)
{
    int64_t most = 0;
    for (int64_t group = 0; group < groups; group++) {
        int64_t values = 0;
        for (int64_t i = first + group; i < end; i += groups)
            values += w->values(w->arg, i);
        if (values > most) most = values;
    }
    return most;
}

/* Plans the turn that begins with batch `first`, a multiple of the groups. */
static struct turn plan_turn(const struct turns_work *w, int64_t first, int64_t groups)
{
    struct turn t = { first, first, 0 };
    for (int batches = 0; batches < BATCHES_OF_A_TURN && t.end < w->count; batches++) {
        int64_t end = min_i64(t.end + groups, w->count);
        int64_t size = most_values(w, first, end, groups);
        if (batches && size > VALUES_OF_A_TURN) break;
        t.end = end;
        t.size = size;
    }
    return t;
}

/* The time of a batch grows at most with the square of its rows, as that of attention does. */
static double cost_of(const struct turns_work *w, int64_t i)
{
    double values = (double)w->values(w->arg, i);
    return values * values;
}

/* Computes this rank's batches of a turn. */
static int compute(struct turns *t, const struct turns_work *w, const struct turn *now, float *own,
                   struct fail *why)
{
    int64_t group = ranks_place(t->ranks)->rank / t->group, groups = groups_of(t);
    double begun = clock_seconds(), cost = 0;
    for (int64_t i = now->first + group; i < now->end; i += groups) {
        if (w->compute(w->arg, i, own, why)) return -1;
        own += w->values(w->arg, i);
        cost += cost_of(w, i);
    }
    if (cost > 0) t->pace = (clock_seconds() - begun) / cost;
    return 0;
}

/* Sets how long this rank waits for the others. Their batches may take long. So the timeout is
 * lengthened by three times the time that this rank would need for the batches of the rank that has
 * the most to compute in this turn. A rank that has computed nothing cannot know this time, and
 * waits without end; rank 0 always computes. */
static void set_patience(const struct turns *t, const struct turns_work *w, const struct turn *now)
{
    int64_t groups = groups_of(t);
    double most = 0;
    for (int64_t group = 0; group < groups; group++) {
        double cost = 0;
        for (int64_t i = now->first + group; i < now->end; i += groups)
            cost += cost_of(w, i);
        most = fmax(most, cost);
    }
    ranks_set_timeout(t->ranks, t->pace > 0 ? ceil(t->timeout + 3 * t->pace * most) : INFINITY);
}

/* Adds the batches of a turn: all [ranks][size] has the values of each rank's batches, one after
 * the other. The values of a group are taken from its first rank. */
static void add(const struct turns *t, const struct turns_work *w, const struct turn *now,
                const float *all)
{
    int64_t groups = groups_of(t);
    for (int64_t i = now->first; i < now->end; i++) {
        const float *at = all + i % groups * t->group * now->size;
        for (int64_t before = now->first + i % groups; before < i; before += groups)
            at += w->values(w->arg, before);
        w->add(w->arg, i, at);
    }
}

static int run_turn(struct turns *t, const struct turns_work *w, const struct turn *now,
                    struct fail *why)
{
    int64_t ranks = ranks_place(t->ranks)->count;
    size_t bytes = (size_t)now->size * sizeof(float);
    float *own = calloc((size_t)now->size + 1, sizeof *own);
    float *all = malloc((size_t)ranks * bytes + 1);
    int status = own && all ? compute(t, w, now, own, why) : fail(why, "out of memory");
    if (!status) {
        ranks_at(t->ranks, "context %lld, %s %lld", (long long)w->context, w->unit,
                 (long long)now->first + 1);
        set_patience(t, w, now);
        status = ranks_all_gather(t->ranks, all, own, bytes, why);
        ranks_set_timeout(t->ranks, t->timeout);
    }
    if (!status) add(t, w, now, all);
    free(own);
    free(all);
    return status;
}

/* With one rank each batch is added as soon as it is computed. */
static int run_alone(const struct turns_work *w, struct fail *why)
{
    int64_t most = 0;
    for (int64_t i = 0; i < w->count; i++)
        if (w->values(w->arg, i) > most) most = w->values(w->arg, i);
    float *values = malloc((size_t)(most + 1) * sizeof *values);
    int status = values ? 0 : fail(why, "out of memory");
    for (int64_t i = 0; i < w->count && !status; i++) {
        status = w->compute(w->arg, i, values, why);
        if (!status) w->add(w->arg, i, values);
    }
    free(values);
    return status;
}

int turns_run(struct turns *t, const struct turns_work *w, struct fail *why)
{
    int64_t ranks = ranks_place(t->ranks)->count;
    if (ranks == 1) return run_alone(w, why);
    for (int64_t first = 0; first < w->count;) {
        struct turn now = plan_turn(w, first, groups_of(t));
        if (run_turn(t, w, &now, why)) return -1;
        first = now.end;
    }
    return 0;
}
