/* The values of a recipe that decide the bytes of a run, as JSON from which the recipe is made
 * again. */
#include "tools/train/recipe_inside.h"

/* These keys do not change the updates. They decide when a run logs and evaluates, and so the
 * numbers in a training state. */
static const char *const also[] = { "logging_steps",
                                    "logging_strategy",
                                    "logging_first_step",
                                    "eval_strategy",
                                    "eval_steps",
                                    "eval_delay",
                                    "load_best_model_at_end",
                                    "metric_for_best_model",
                                    "greater_is_better",
                                    "early_stopping_patience",
                                    "early_stopping_threshold" };
static const char *const paths[] = { "model_name_or_path", "adapter_name_or_path", "train_file",
                                     "eval_file", "tokenizer" };

static bool is_in(const char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(list[i], name)) return true;
    return false;
}

bool recipe_is_input(const char *key) { return is_in(paths, sizeof paths / sizeof *paths, key); }

/* Is it a second name of a key that comes before it in the table? */
static bool is_second_name(const struct recipe_key *k)
{
    for (const struct recipe_key *other = recipe_keys; other < k; other++)
        if (other->kind != IGNORED && other->at == k->at) return true;
    return false;
}

static bool is_recorded(const struct recipe_key *k)
{
    if (k->kind == IGNORED || is_second_name(k)) return false;
    return k->flags & DECIDES || is_in(also, sizeof also / sizeof *also, k->name);
}

json_t *recipe_record(const struct recipe *r)
{
    json_t *record = json_object();
    for (int i = 0; record && i < recipe_key_count; i++) {
        char buffer[64];
        const struct recipe_key *k = &recipe_keys[i];
        if (is_recorded(k))
            json_object_set_new(record, k->name, json_string(recipe_value_text(r, k, buffer)));
    }
    return record;
}

json_t *recipe_record_inputs(const struct recipe *r)
{
    json_t *record = json_object();
    for (size_t i = 0; record && i < sizeof paths / sizeof *paths; i++) {
        char buffer[64];
        const char *text = recipe_value_text(r, recipe_find_key(paths[i]), buffer);
        if (*text) json_object_set_new(record, paths[i], json_string(text));
    }
    return record;
}

void recipe_ignore(const char *key, const char *reason)
{
    (void)key;
    (void)reason;
}

int recipe_read_record(struct recipe *r, const json_t *record, const char *place, struct fail *why)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)record, key, value)
    {
        const struct recipe_key *k = recipe_find_key(key);
        struct recipe_value v = { .text = json_string_value(value), .is_quoted = true };
        if (!k || !v.text || (!is_recorded(k) && !recipe_is_input(key)))
            return fail_input(why,
                              "%s: its recipe has the key '%.60s', which this version does "
                              "not know",
                              place, key);
        if (*v.text && recipe_set(r, k, &v, place, recipe_ignore, why)) {
            why->status = STATUS_INPUT;
            return fail_in(why, place);
        }
    }
    return 0;
}

bool recipe_differs(const json_t *then, const json_t *now, char *text, size_t size)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)now, key, value)
    {
        const char *before = json_string_value(json_object_get(then, key));
        if (before && !strcmp(before, json_string_value(value))) continue;
        snprintf(text, size, "%s was %.100s, is %.100s", key, before ? before : "not there",
                 json_string_value(value));
        return true;
    }
    return false;
}
