#include "tools/train/due.h"
#include "tools/train/trainer.h"

#include <math.h>

static int64_t count_of(double given, int64_t all)
{
    return (int64_t)(given < 1 ? ceil(given * (double)all) : given);
}

void due_plan(struct trainer *t)
{
    const struct recipe *r = t->recipe;
    int64_t all = t->optimiser.steps;
    t->due = (struct due_steps){ .log = count_of(r->logging_steps, all),
                                 .evaluation = count_of(r->eval_steps, all),
                                 .checkpoint = count_of(r->save_steps, all) };
    if (!t->due.evaluation && r->eval_strategy == INTERVAL_STEPS) t->due.evaluation = t->due.log;
}

static int64_t samples_after(const struct trainer *t, int64_t steps)
{
    return steps * t->recipe->batch_size * t->recipe->accumulation;
}

/* True if a pass over the samples ends within this update. */
static bool ends_pass(const struct trainer *t, int64_t step)
{
    int64_t pass = (int64_t)reader_records(t->samples);
    return samples_after(t, step) / pass > samples_after(t, step - 1) / pass;
}

/* Returns the number of passes over the samples up to this update. */
static double passes(const struct trainer *t, int64_t step)
{
    return (double)samples_after(t, step) / (double)reader_records(t->samples);
}

static bool is_multiple(int64_t step, int64_t every) { return every && step % every == 0; }

static bool is_due(const struct trainer *t, int64_t step, enum interval strategy, int64_t every)
{
    if (strategy == INTERVAL_NO || strategy == INTERVAL_BEST) return false;
    if (trainer_is_done_at(t, step)) return true;
    return strategy == INTERVAL_EPOCH ? ends_pass(t, step) : is_multiple(step, every);
}

bool due_is_at_start(const struct trainer *t)
{
    const struct recipe *r = t->recipe;
    return r->eval_on_start && t->eval_count && r->eval_strategy != INTERVAL_NO &&
           !(r->eval_delay > 0);
}

bool due_at(const struct trainer *t, int64_t step, enum due what)
{
    const struct recipe *r = t->recipe;
    if (what == DUE_CHECKPOINT) return is_due(t, step, r->save_strategy, t->due.checkpoint);
    if (what == DUE_LOG)
        return is_due(t, step, r->logging_strategy, t->due.log) || (r->log_first && step == 1);
    double done = r->eval_strategy == INTERVAL_EPOCH ? passes(t, step) : (double)step;
    return done >= r->eval_delay && is_due(t, step, r->eval_strategy, t->due.evaluation);
}

bool due_is(const struct trainer *t, enum due what) { return due_at(t, t->state.step, what); }
