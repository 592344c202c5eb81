#include "tools/train/schedules.h"

static json_t *one_to_json(const struct optimiser *o, int64_t first, int64_t last)
{
    return json_pack("{s:I,s:I,s:s,s:I,s:I}", "from", (json_int_t)first + 1, "to", (json_int_t)last,
                     "lr_scheduler_type", recipe_schedules[o->schedule], "steps",
                     (json_int_t)o->steps, "warmup_steps", (json_int_t)o->warmup);
}

/* Returns the earlier schedules; an empty array if there are none. */
static json_t *earlier(const struct run_state *s, struct fail *why)
{
    if (s->schedules[0])
        return json_read_text(s->schedules, strlen(s->schedules), "schedules", why);
    json_t *none = json_array();
    if (!none) fail(why, "out of memory");
    return none;
}

/* Ends the schedule of `then` at the checkpoint and begins another one. */
static int begin_another(struct trainer *t, const struct run_state *then,
                         const struct optimiser *old, struct fail *why)
{
    json_t *all = earlier(then, why);
    if (!all) return -1;
    int failed = json_array_append_new(all, one_to_json(old, then->since, then->step));
    char *text = failed ? NULL : json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if (!text) return fail(why, "out of memory");
    bool fits = strlen(text) < sizeof t->state.schedules;
    if (fits) memcpy(t->state.schedules, text, strlen(text) + 1);
    free(text);
    t->state.since = then->step;
    return fits ? 0
                : fail_usage(why, "the number of steps was changed too often: begin another run");
}

int schedules_go_on(struct trainer *t, const struct run_state *then, struct fail *why)
{
    const struct optimiser *now = &t->optimiser;
    struct optimiser old = *now;
    if (now->steps < then->step)
        return fail_usage(why,
                          "the run has done %lld steps, and is to have %lld now: name another "
                          "output_dir",
                          (long long)then->step, (long long)now->steps);
    memcpy(t->state.schedules, then->schedules, sizeof t->state.schedules);
    t->state.since = then->since;
    old.steps = then->steps;
    old.warmup = then->warmup;
    return optimiser_agrees(&old, now, then->since, then->step) ? 0
                                                                : begin_another(t, then, &old, why);
}

json_t *schedules_to_json(const struct trainer *t, struct fail *why)
{
    json_t *all = earlier(&t->state, why);
    if (all && !json_array_size(all)) {
        json_decref(all);
        return NULL;
    }
    if (all && t->state.step > t->state.since)
        json_array_append_new(all, one_to_json(&t->optimiser, t->state.since, t->state.step));
    return all;
}

void schedules_describe(const struct trainer *t, char *text, size_t size)
{
    struct fail ignored;
    json_t *all = earlier(&t->state, &ignored), *one;
    size_t i, used = 0;
    text[0] = 0;
    json_array_foreach(all, i, one)
    {
        if (used < size)
            used += (size_t)snprintf(
                text + used, size - used,
                "%ssteps %lld-%lld ran under %s over %lld steps (warm-up %lld)", i ? ", " : "",
                (long long)json_integer_value(json_object_get(one, "from")),
                (long long)json_integer_value(json_object_get(one, "to")),
                json_string_value(json_object_get(one, "lr_scheduler_type")),
                (long long)json_integer_value(json_object_get(one, "steps")),
                (long long)json_integer_value(json_object_get(one, "warmup_steps")));
    }
    json_decref(all);
}
