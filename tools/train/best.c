/* Saves the best model so far, and counts the evaluations without a better one, by which the run
 * stops early. Both work as in Hugging Face's Trainer and its EarlyStoppingCallback (transformers
 * 5.24). */
#include "tools/train/trainer.h"

#include "lib/cli/die.h"

#include <math.h>
#include <sys/stat.h>

static const char best_name[] = "best", before_name[] = "best-before";

bool recipe_seeks_best(const struct recipe *r) { return r->load_best || r->metric || r->patience; }

static bool is_better(const struct trainer *t, double metric, double than)
{
    return t->recipe->greater == TOGGLE_YES ? metric > than : metric < than;
}

/* Returns the step of the model in a folder of the run, or 0 if the folder has no complete
 * model. */
static int64_t step_in(const struct trainer *t, const char *name)
{
    char path[4096], state[4200];
    struct run_state then;
    struct fail ignored;
    snprintf(path, sizeof path, "%s/%s", t->folder.path, name);
    snprintf(state, sizeof state, "%s/training_state", path);
    if (!run_folder_owns(&t->folder, name) || checkpoint_verify(path, &ignored) ||
        checkpoint_peek(state, &then, &ignored))
        return 0;
    return then.step;
}

/* Saves the model as the best one. The previous best model is kept as best-before as long as the
 * newest checkpoint refers to it, because a run that resumes from that checkpoint needs it. If the
 * model cannot be saved, the previous one becomes the best again. */
static int save_best(struct trainer *t, struct fail *why)
{
    struct run_folder *f = &t->folder;
    char best[RUN_NAME], before[RUN_NAME];
    run_folder_name(f, best_name, best);
    run_folder_name(f, before_name, before);
    bool is_kept = t->checkpoint_best_step && t->folder_best_step == t->checkpoint_best_step &&
                   run_folder_owns(f, best);
    struct fail lost;
    int status =
        is_kept && run_folder_rename(f, best, before, why) ? -1 : trainer_save(t, best_name, why);
    if (!status || step_in(t, best) == t->state.step)
        t->folder_best_step = t->state.step;
    else if (is_kept && step_in(t, before) == t->checkpoint_best_step &&
             run_folder_rename(f, before, best, &lost))
        t->folder_best_step = 0;
    return status;
}

bool trainer_weigh(struct trainer *t, const struct evaluation *e)
{
    struct run_state *s = &t->state;
    s->evaluated = s->step;
    if (!recipe_seeks_best(t->recipe)) return false;
    /* As in the callback, the loss is compared with that of the best model before this
     * evaluation. */
    if (!s->evaluations || (is_better(t, e->loss, s->best_metric) &&
                            fabs(e->loss - s->best_metric) > t->recipe->threshold))
        s->worse = 0;
    else
        s->worse++;
    if (!s->evaluations) s->best_metric = t->recipe->greater == TOGGLE_YES ? -INFINITY : INFINITY;
    s->evaluations++;
    if (!is_better(t, e->loss, s->best_metric)) return false;
    s->best_metric = e->loss;
    s->best_step = s->step;
    return true;
}

int trainer_consider(struct trainer *t, const struct evaluation *e, bool *is_best, struct fail *why)
{
    struct run_state before = t->state;
    *is_best = trainer_weigh(t, e);
    if (!*is_best || !save_best(t, why)) return 0;
    /* A checkpoint that is saved now must not name a best model that is not there. */
    if (t->folder_best_step != t->state.step) t->state = before;
    return -1;
}

/* Removes the folder of a model. If somebody else has put files there, the folder stays until
 * another model replaces it. A folder that cannot be removed stays too; that is no error, because a
 * run that needs the name has been refused already. */
static int forget(struct trainer *t, const char *name, struct fail *why)
{
    char path[4096];
    struct fail stays;
    run_folder_path(&t->folder, name, path);
    if (run_folder_check_free(&t->folder, name, &stays)) return 0;
    return checkpoint_is_pure(path) ? run_folder_remove(&t->folder, name, why) : 0;
}

int trainer_restore_best(struct trainer *t, struct fail *why)
{
    struct run_folder *f = &t->folder;
    int64_t wanted = t->state.best_step;
    char best[RUN_NAME], before[RUN_NAME];
    run_folder_name(f, best_name, best);
    run_folder_name(f, before_name, before);
    if (!wanted) return forget(t, best, why) || forget(t, before, why) ? -1 : 0;
    if (!recipe_seeks_best(t->recipe)) return 0;
    t->folder_best_step = wanted;
    if (step_in(t, best) == wanted) return 0;
    if (step_in(t, before) == wanted) return run_folder_rename(f, before, best, why);
    if (t->recipe->load_best && t->state.step >= t->optimiser.steps)
        return fail(
            why,
            "%.200s/%s: the best model, of step %lld, is not there any more: put it back, or "
            "load_best_model_at_end=false keeps the last one",
            f->path, best, (long long)wanted);
    warn(
        "%s/%s: the best model so far, of step %lld, is not there, so it cannot become the result: "
        "the next evaluation counts as the best one",
        f->path, best, (long long)wanted);
    t->proof.lost_best = true;
    t->folder_best_step = t->state.best_step = 0;
    t->state.best_metric = t->recipe->greater == TOGGLE_YES ? -INFINITY : INFINITY;
    return 0;
}

int trainer_load_best(struct trainer *t, struct fail *why)
{
    struct run_state then;
    char path[4096], state[4200], best[RUN_NAME];
    run_folder_name(&t->folder, best_name, best);
    run_folder_path(&t->folder, best, path);
    snprintf(state, sizeof state, "%s/training_state", path);
    return checkpoint_verify(path, why) ? -1 : checkpoint_load_state(state, t->model, &then, why);
}
