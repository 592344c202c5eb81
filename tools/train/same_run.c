#include "tools/train/same_run.h"

#include "tools/train/replaced.h"

static int compare(const char *what, const char *then, const char *now, struct fail *why)
{
    if (!strcmp(then, now)) return 0;
    return fail_input(why, "%s changed since the run began: %s then, %s now", what, then, now);
}

/* True for the keys that set the number of steps (see schedules.h). */
static bool is_length(const char *key)
{
    return !strcmp(key, "max_steps") || !strcmp(key, "num_train_epochs");
}

/* True if both values mean the same. In older programs train_embedding was a flag; its value true
 * meant the embedding without the head. */
static bool is_same_value(const char *key, const json_t *before, const json_t *value)
{
    if (json_is_true(before) && !strcmp(key, "train_embedding")) {
        const char *now = json_string_value(value);
        return now && !strcmp(now, "embedding");
    }
    return before && json_equal(before, value);
}

/* Fails if the recipe of the run `then` differs from that of the trainer, and names the first key
 * whose value differs. The key rope may be auto on one side if both mean the same scaling. */
static int compare_recipes(const struct run_state *then, const struct trainer *t, struct fail *why)
{
    bool same_rope = !strcmp(then->rope, t->state.rope);
    json_t *now = recipe_complete_json(json_copy(t->recipe_json));
    json_t *old = json_read_text(then->recipe, strlen(then->recipe), "recipe", why);
    const char *key;
    json_t *value;
    int status = !recipe_complete_json(old) ? -1 : now ? 0 : fail(why, "out of memory");
    json_object_foreach(now, key, value)
    {
        json_t *before = json_object_get(old, key);
        if (status || is_length(key) || is_same_value(key, before, value) ||
            (same_rope && !strcmp(key, "rope")))
            continue;
        char *a = before ? json_dumps(before, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        status = fail_input(why, "the recipe changed since the run began: %s was %s, is %s", key,
                            a ? a : "not there", b ? b : "?");
        free(a);
        free(b);
    }
    json_object_foreach(old, key, value)
    {
        if (!status && !json_object_get(now, key))
            status = fail_input(
                why, "the recipe changed since the run began: %s is not there any more", key);
    }
    json_decref(old);
    json_decref(now);
    return status;
}

int same_run_check_recipe(const struct trainer *t, const struct run_state *then, struct fail *why)
{
    const struct run_state *now = &t->state;
    if (compare_recipes(then, t, why) ||
        compare("the tokenizer", then->tokenizer, now->tokenizer, why) ||
        compare("the samples", then->data, now->data, why) ||
        compare("the base", then->base, now->base, why) ||
        compare("rope", then->rope, now->rope, why) ||
        base_config_compare(then->base_config, now->base_config, why))
        return -1;
    return 0;
}

int same_run_check(const struct trainer *t, const struct run_state *then, struct fail *why)
{
    const struct run_state *now = &t->state;
    char was[24], is[24];
    snprintf(was, sizeof was, "%lld", (long long)then->chunk);
    snprintf(is, sizeof is, "%lld", (long long)now->chunk);
    if (same_run_check_recipe(t, then, why) ||
        compare("the device", then->device, now->device, why) ||
        compare("the rows of a chunk", was, is, why))
        return -1;
    if (!then->evaluations || !then->eval_data[0] || !now->eval_data[0]) return 0;
    return compare("the first eval_file, whose loss decides which model is the best,",
                   then->eval_data, now->eval_data, why);
}

int same_run_of_record(const struct trainer *t, struct run_state *then, struct fail *why)
{
    const json_t *run = run_folder_record(&t->folder, "run");
    struct {
        const char *key;
        char *to;
        size_t size;
    } texts[] = { { "data", then->data, sizeof then->data },
                  { "tokenizer", then->tokenizer, sizeof then->tokenizer },
                  { "base", then->base, sizeof then->base },
                  { "rope", then->rope, sizeof then->rope } };
    char *recipe = json_dumps(json_object_get(run, "recipe"), JSON_COMPACT);
    *then = (struct run_state){ 0 };
    snprintf(then->recipe, sizeof then->recipe, "%s", recipe ? recipe : "{}");
    free(recipe);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *text = json_string_value(json_object_get(run, texts[i].key));
        if (!text)
            return fail_input(why,
                              "%s/longqlora-run.json: run has no '%s': move it away, or name "
                              "another output_dir",
                              t->folder.path, texts[i].key);
        snprintf(texts[i].to, texts[i].size, "%s", text);
    }
    snprintf(then->base_config, sizeof then->base_config, "%s", json_get_text(run, "base_config"));
    return 0;
}

int same_run_check_replacer(const struct trainer *t, struct fail *why)
{
    struct run_state then;
    struct fail cause;
    const char *path = t->folder.path, *name = replaced_name(&t->folder);
    bool is_none = recipe_resume(t->recipe) == RESUME_NONE;
    if (!name) return 0;
    if (!same_run_of_record(t, &then, &cause) && !same_run_check_recipe(t, &then, &cause)) return 0;
    return fail_input(why,
                      "%.100s: %.150s; the run there has replaced an earlier one: to use that one, "
                      "set output_dir=%.100s/%s; to begin a new run, set "
                      "%soverwrite_output_dir=true",
                      path, cause.text, path, name,
                      is_none ? "" : "resume_from_checkpoint=none and ");
}
