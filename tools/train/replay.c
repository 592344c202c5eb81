#include "tools/train/replay.h"

#include "lib/cli/progress.h"
#include "tools/train/sharing.h"

#include <math.h>

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void ignore_message(const char *text) { (void)text; }

/* ---- the recipe ---- */

int replay_recipe(struct recipe *r, const json_t *run, const struct replay_place *place,
                  struct fail *why)
{
    recipe_defaults(r);
    if (recipe_read_record(r, json_object_get(run, "recipe"), chain_file, why) ||
        recipe_read_record(r, json_object_get(run, "paths"), chain_file, why) ||
        recipe_read_record(r, place->paths, "the paths", why))
        return -1;
    r->output_dir = place->run;
    /* An adapter's tokenizer only decides by which name PEFT opens the base. */
    if (r->method == METHOD_LORA) r->tokenizer = NULL;
    if (r->train_file && !strcmp(r->train_file, "-")) {
        char text[4200];
        snprintf(text, sizeof text, "train_file=%s/train.samples", place->run);
        if (recipe_override(r, text, recipe_ignore, why)) return -1;
    }
    return recipe_check(r, false, why);
}

void replay_device(const json_t *run, const struct replay_place *place, char device[32])
{
    const char *then = json_get_text(run, "device"), *type = strstr(then, ", ");
    bool is_cuda = !strncmp(then, "cuda", 4);
    if (strcmp(place->device, "auto") != 0)
        snprintf(device, 32, "%s", place->device);
    else if (is_cuda)
        snprintf(device, 32, "cuda-%.16s", type ? type + 2 : "bf16");
    else
        snprintf(device, 32, "%s",
                 strcmp(json_get_text(run, "level"), "bf16") ? "cpu" : "cpu-bf16");
}

/* ---- opening ---- */

/* Sets what the run took from its folder or from the checkpoint with which it began. */
static int take_over(struct trainer *t, const json_t *run, struct fail *why)
{
    struct run_state *s = &t->state;
    int64_t chunk = number_of(run, "chunk");
    const json_t *peft_name = json_object_get(run, "peft_name");
    if (strcmp(s->rope, json_get_text(run, "rope")) != 0)
        return fail_input(why, "rope was %s, is %s", json_get_text(run, "rope"), s->rope);
    if (!t->recipe->chunk_rows && chunk > 0 && chunk <= t->setup.rows)
        t->setup.chunk = s->chunk = chunk;
    s->since = number_of(run, "since");
    snprintf(s->schedules, sizeof s->schedules, "%s", json_get_text(run, "schedules"));
    snprintf(t->base_name, sizeof t->base_name, "%s", json_get_text(run, "base_name"));
    t->peft_name = peft_name ? json_deep_copy(peft_name) : NULL;
    return 0;
}

int replay_open(struct replay *r, json_t *run, const struct replay_place *place, struct fail *why)
{
    static volatile sig_atomic_t no_signal;
    static char device[32];
    struct trainer *t = &r->trainer;
    const struct kernels *k;
    *r = (struct replay){ .run = run, .is_open = true, .is_fresh = true };
    replay_device(run, place, device);
    if (replay_recipe(&r->recipe, run, place, why)) return -1;
    if (r->recipe.adapter && (adapter_open(&r->adapter, r->recipe.adapter, why) ||
                              recipe_use_adapter(&r->recipe, &r->adapter, NULL, why)))
        return -1;
    if (kernels_choose(&k, device, false, why) || memory_share_with(place->ranks, k, why) ||
        device_messages_open(place->ranks, k, true, why))
        return -1;
    struct trainer_place here = { .device = device,
                                  .threads = place->threads,
                                  .ranks = place->ranks,
                                  .sample_ranks = place->sample_ranks,
                                  .parts = ranks_place(place->ranks)->count,
                                  .replayed_rope = json_get_text(run, "rope") };
    if (trainer_open(t, &r->recipe, r->recipe.adapter ? &r->adapter : NULL, &here, false, why) ||
        take_over(t, run, why))
        return -1;
    t->asked = &no_signal;
    t->setup.stop = sharing_count(t) > 1 && t->setup.segments > 1 ? &t->agreed.signal : &no_signal;
    return sharing_agree(t, why) || trainer_prepare(t, why) ||
                   trainer_open_model(t, ignore_message, why)
               ? -1
               : 0;
}

void replay_close(struct replay *r)
{
    if (!r->is_open) return;
    trainer_close(&r->trainer);
    if (r->recipe.adapter) adapter_close(&r->adapter);
    recipe_release(&r->recipe);
    *r = (struct replay){ 0 };
}

/* ---- the steps ---- */

/* Evaluates if the result of the evaluation is in the state. */
static int evaluate(struct trainer *t, struct fail *why)
{
    struct evaluation e[EVAL_FILES_MAX] = { 0 };
    if (recipe_seeks_best(t->recipe)) {
        int status = trainer_evaluate(t, e, why);
        if (status) return status < 0 ? -1 : fail(why, "the replay was stopped");
    }
    (void)trainer_weigh(t, &e[0]);
    return 0;
}

/* Evaluates after a step if the run did. */
static int evaluate_if_due(struct trainer *t, const struct replay_goal *goal, struct fail *why)
{
    int64_t step = t->state.step;
    bool was_left_out = step == goal->step && goal->evaluated != step;
    if (!t->eval_count || was_left_out || t->state.evaluated == step || !due_is(t, DUE_EVALUATION))
        return 0;
    return evaluate(t, why);
}

static int begin(struct replay *r, const struct replay_goal *goal, struct fail *why)
{
    struct trainer *t = &r->trainer;
    struct run_state *s = &t->state;
    if (*goal->from) {
        snprintf(t->checkpoint, sizeof t->checkpoint, "%s", goal->from);
        if (trainer_load_state(t, why)) return -1;
        r->is_fresh = false;
    }
    t->resumed = s->step;
    /* The run began without the best model that the checkpoint names (trainer_restore_best). */
    if (goal->is_before_run && s->best_step && !number_of(r->run, "best_step")) {
        s->best_step = 0;
        s->best_metric = t->recipe->greater == TOGGLE_YES ? -INFINITY : INFINITY;
    }
    return s->step ? evaluate_if_due(t, goal, why) : 0;
}

static int take_step(struct trainer *t, const struct replay_goal *goal, struct fail *why)
{
    struct step_result result;
    int status = trainer_step(t, &result, why);
    if (status) return status < 0 ? -1 : fail(why, "the replay was stopped");
    bool was_logged = t->state.step < goal->step || !goal->loss_steps;
    if (due_is(t, DUE_LOG) && was_logged) trainer_begin_interval(t);
    return evaluate_if_due(t, goal, why);
}

int replay_go(struct replay *r, const struct replay_goal *goal, struct fail *why)
{
    struct trainer *t = &r->trainer;
    if (begin(r, goal, why)) return -1;
    if (t->state.step > goal->step)
        return fail_input(why, "%s: it is of step %lld, after step %lld", goal->from,
                          (long long)t->state.step, (long long)goal->step);
    double samples = (double)(t->recipe->batch_size * t->recipe->accumulation);
    progress_begin(&(struct progress){ .unit = "samples",
                                       .first = samples * (double)t->state.step,
                                       .total = samples * (double)goal->step });
    int status = 0;
    while (!status && t->state.step < goal->step) {
        r->is_fresh = false;
        status = take_step(t, goal, why);
    }
    progress_end();
    return status;
}

int replay_write(struct replay *r, const struct replay_goal *goal, const struct chain *chain,
                 size_t lines, const char *folder, struct fail *why)
{
    struct trainer *t = &r->trainer;
    int status = 0;
    if (sharing_is_first(t)) {
        proof_close(&t->proof);
        t->proof.is_on = t->proof.is_replay = true;
        status = chain_copy(&t->proof.chain, chain, lines, why);
        /* A result lists the schedules up to its last step. */
        int64_t step = t->state.step;
        if (goal->is_result) t->state.step = goal->result_step;
        if (!status && goal->is_result) status = trainer_fill_result(t, folder, why);
        if (!status && !goal->is_result) status = trainer_fill_checkpoint(t, folder, why);
        t->state.step = step;
    }
    return status || sharing_meet(t, why) ? -1 : 0;
}
