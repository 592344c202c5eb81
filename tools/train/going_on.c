/* Resumes runs: recognises a finished run, finds the checkpoint, and refuses checkpoints of other
 * runs. */
#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/common/output.h"
#include "lib/llama/model_directory.h"
#include "tools/train/log.h"
#include "tools/train/replaced.h"
#include "tools/train/same_run.h"
#include "tools/train/schedules.h"
#include "tools/train/sharing.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_none(const struct trainer *t) { return recipe_resume(t->recipe) == RESUME_NONE; }
static bool is_named(const struct trainer *t) { return recipe_resume(t->recipe) == RESUME_NAMED; }

/* Reads the state of the checkpoint that resume_from_checkpoint names, or else of the newest one in
 * output_dir. Returns false if there is none. */
static bool state_there(const struct trainer *t, struct run_state *then)
{
    char path[4200];
    struct fail ignored;
    int64_t newest = checkpoint_newest(t->folder.path, INT64_MAX);
    if (is_named(t))
        snprintf(path, sizeof path, "%s/training_state", t->recipe->resume);
    else
        snprintf(path, sizeof path, "%s/checkpoint-%lld/training_state", t->folder.path,
                 (long long)newest);
    return (is_named(t) || newest >= 0) && !checkpoint_peek(path, then, &ignored);
}

void trainer_rope_there(const struct trainer *t, char *text, size_t size)
{
    struct run_state then;
    const json_t *run = run_folder_record(&t->folder, "run");
    const char *recorded = json_string_value(json_object_get(run, "rope"));
    *text = '\0';
    if (t->recipe->overwrite && is_none(t)) return;
    if (recorded && !is_named(t))
        snprintf(text, size, "%s", recorded);
    else if (state_there(t, &then))
        snprintf(text, size, "%s", then.rope);
}

bool trainer_trained_embedding_alone(const struct trainer *t)
{
    const json_t *then = json_object_get(run_folder_record(&t->folder, "run"), "recipe");
    return !t->recipe->overwrite && !is_named(t) &&
           json_is_true(json_object_get(then, "train_embedding"));
}

bool trainer_begins_anew(const struct trainer *t) { return is_none(t) && !t->lengthens; }

/* ---- a finished run ---- */

/* Returns 1 if all files of the result exist and belong to the run, and 0 if not. Returns -1 if a
 * file cannot be read, because then its owner is unknown. */
static int has_result(const struct trainer *t, const json_t *finished, struct fail *why)
{
    size_t i;
    json_t *item;
    const json_t *files = json_object_get(finished, "files");
    json_array_foreach((json_t *)files, i, item)
    {
        const char *name = json_string_value(item) ? json_string_value(item) : "?";
        if (run_folder_owns(&t->folder, name)) continue;
        return run_folder_check_readable(&t->folder, name, why) ? -1 : 0;
    }
    return json_array_size(files) > 0;
}

static int64_t number_in(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Adds to the error what the user can do with the finished run. Its result may be of another kind
 * than what the present recipe trains. */
static int refuse_finished(const struct trainer *t, struct fail *why)
{
    char text[480], config[4200];
    snprintf(config, sizeof config, "%.4000s/adapter_config.json", t->folder.path);
    bool is_adapter = !access(config, F_OK);
    snprintf(text, sizeof text,
             "%.70s: %.165s; the run is finished: to train further, set %s=%.70s and another "
             "output_dir; to remove the run, set %soverwrite_output_dir=true",
             t->folder.path, why->text, is_adapter ? "adapter_name_or_path" : "model_name_or_path",
             t->folder.path, is_none(t) ? "" : "resume_from_checkpoint=none and ");
    memcpy(why->text, text, sizeof text);
    return -1;
}

/* True if the result was chosen by the rules of the present recipe. If the run did all its steps
 * and the recipe no longer has an early_stopping_patience, an earlier patience makes no difference,
 * because it never stopped the run. */
static bool has_outcome(const struct trainer *t, const json_t *then, bool is_whole)
{
    json_t *now = trainer_outcome_json(t);
    bool is_same = json_equal(now, then) ||
                   (is_whole && !t->recipe->patience &&
                    json_equal(json_object_get(now, "best"), json_object_get(then, "best")));
    json_decref(now);
    return is_same;
}

int trainer_is_finished(struct trainer *t, char *text, size_t size, struct fail *why)
{
    const json_t *finished = run_folder_record(&t->folder, "finished");
    struct run_state then;
    int64_t done = number_in(finished, "step"), steps = number_in(finished, "steps");
    int64_t now = t->optimiser.steps, patience = t->recipe->patience;
    if (!finished || (t->recipe->overwrite && is_none(t))) return 0;
    int has = has_result(t, finished, why);
    if (has <= 0) return has;
    if (same_run_of_record(t, &then, why)) return -1;
    if (same_run_check_recipe(t, &then, why)) return refuse_finished(t, why);
    bool is_early = patience && number_in(finished, "worse") >= patience;
    if (now < done) {
        fail_usage(why, "the run has done %lld steps, but the recipe asks for %lld",
                   (long long)done, (long long)now);
        return refuse_finished(t, why);
    }
    t->lengthens = !is_early && now > done;
    if (t->lengthens) return 0;
    if (!has_outcome(t, json_object_get(finished, "outcome"), done >= steps)) {
        fail_usage(why, "load_best_model_at_end or early_stopping_patience, or their settings, "
                        "changed since the run began");
        return refuse_finished(t, why);
    }
    const char *first = json_string_value(json_array_get(json_object_get(finished, "files"), 0));
    if (first && json_object_get(run_folder_record(&t->folder, "folders"), first))
        snprintf(text, size,
                 "%s: already finished, after step %lld, with its result in %s/%s, because a name "
                 "in output_dir was taken; nothing is done",
                 t->folder.path, (long long)done, t->folder.path, first);
    else if (is_early)
        snprintf(text, size,
                 "%s: already finished: stopped early after step %lld of %lld, as "
                 "early_stopping_patience says; nothing is done",
                 t->folder.path, (long long)done, (long long)steps);
    else
        snprintf(text, size,
                 "%s: already finished: %lld steps of this recipe; nothing is done (to train "
                 "further, set a larger max_steps or num_train_epochs)",
                 t->folder.path, (long long)done);
    return 1;
}

/* ---- the checkpoint ---- */

/* Sets t->checkpoint to the newest complete checkpoint of the run, or "" if there is none. In a
 * folder without a record every checkpoint counts as the run's, because older programs wrote no
 * record. *skipped says why the newest checkpoint in the folder was not taken; its text is "" if it
 * was taken. */
static void find_whole(struct trainer *t, struct fail *skipped, void (*report)(const char *))
{
    const struct run_folder *f = &t->folder;
    char text[4200];
    skipped->text[0] = '\0';
    for (int64_t below = INT64_MAX;;) {
        char name[RUN_NAME];
        struct fail why = { .status = STATUS_FAILED };
        int64_t own = run_folder_newest(f, below, name), there = checkpoint_newest(f->path, below);
        t->checkpoint[0] = '\0';
        if (own < 0 && there < 0) return;
        bool is_known = !f->record || own >= there;
        below = own > there ? own : there;
        if (own < there) snprintf(name, sizeof name, "checkpoint-%lld", (long long)there);
        run_folder_path(f, name, t->checkpoint);
        if (is_known && !run_folder_verify(&t->folder, name, &why)) return;
        bool is_own = is_known || run_folder_is_incomplete(f, name);
        if (!is_known && is_own)
            fail_input(&why, "%s: incomplete: it has no manifest.json", t->checkpoint);
        else if (!is_known && access(t->checkpoint, R_OK | X_OK))
            fail(&why, "%s: %s", t->checkpoint, strerror(errno));
        else if (!is_known)
            fail(&why, "%s: this run did not make it", t->checkpoint);
        if (!*skipped->text) *skipped = why;
        snprintf(text, sizeof text, "skipped: %s", why.text);
        if (is_own)
            warn("%s", text);
        else
            report(text);
    }
}

/* Sets t->adopts if the checkpoint is in a folder without a record. In that case an older version
 * of the program began this run, and the log beside the checkpoint is part of the run. */
static void note_adoption(struct trainer *t)
{
    char parent[4200];
    struct stat here, there;
    const char *name = file_name_in(t->checkpoint);
    snprintf(parent, sizeof parent, "%s/..", t->checkpoint);
    if (t->folder.record || checkpoint_number(name) < 0 || stat(parent, &there) ||
        fstat(t->folder.lock, &here) || here.st_ino != there.st_ino || here.st_dev != there.st_dev)
        return;
    snprintf(t->adopts, sizeof t->adopts, "%.47s", name);
}

static void state_path(const struct trainer *t, char path[4200])
{
    snprintf(path, 4200, "%s/training_state", t->checkpoint);
}

/* Fails if the run resumes from an earlier checkpoint under another schedule while later
 * checkpoints exist. The later checkpoints hold steps under the old schedule, and a killed run
 * would resume from them. */
static int check_later(const struct trainer *t, struct fail *why)
{
    if (!is_named(t) || t->state.since != t->resumed) return 0;
    char name[RUN_NAME];
    for (int64_t n = INT64_MAX; (n = run_folder_newest(&t->folder, n, name)) > t->resumed;) {
        char path[4200];
        struct run_state later;
        struct fail ignored;
        snprintf(path, sizeof path, "%s/%s/training_state", t->folder.path, name);
        if (checkpoint_peek(path, &later, &ignored) ||
            (later.steps == t->state.steps && !strcmp(later.schedules, t->state.schedules)))
            continue;
        return fail_usage(why,
                          "%s/%s has steps whose learning rates would differ with another number "
                          "of steps: move it away, or name another output_dir",
                          t->folder.path, name);
    }
    return 0;
}

/* Fails because the checkpoint belongs to another run. Adds to the error how the user can go on
 * with the checkpoint or without it. */
static int refuse_other_run(const struct trainer *t, struct fail *why)
{
    char text[sizeof why->text];
    snprintf(text, sizeof text, "%.120s: %.200s; %s", t->checkpoint, why->text,
             is_named(t) ? "go on with that recipe, or begin anew in another output_dir with "
                           "resume_from_checkpoint=none"
                         : "go on with that recipe, or begin anew: in another output_dir, or with "
                           "resume_from_checkpoint=none overwrite_output_dir=true, which removes "
                           "the old run");
    memcpy(why->text, text, sizeof text);
    return -1;
}

/* Fails because the version that began the run added gradients in another order. If this version
 * went on, the result would be that of neither version. */
static int refuse_other_sums(const struct trainer *t, const struct run_state *then,
                             struct fail *why)
{
    bool is_later = then->sums > CHECKPOINT_SUMS;
    return fail_input(
        why,
        "%.120s: %s version began this run, and adds gradients in another order (sums "
        "%lld, here %d): to train further, set %s=%.120s and another output_dir; to begin "
        "anew, set resume_from_checkpoint=none and overwrite_output_dir=true",
        t->checkpoint, is_later ? "a later" : "an earlier", (long long)then->sums, CHECKPOINT_SUMS,
        trainer_is_lora(t) ? "adapter_name_or_path" : "model_name_or_path", t->checkpoint);
}

/* Verifies a checkpoint that the recipe names. */
static int verify_named(const struct trainer *t, struct fail *why)
{
    if (!checkpoint_verify(t->checkpoint, why)) return 0;
    enum status status = why->status;
    char text[sizeof why->text];
    snprintf(text, sizeof text,
             "resume_from_checkpoint=%.120s is not a complete checkpoint: %.200s; auto takes the "
             "newest complete one in output_dir",
             t->checkpoint, why->text);
    memcpy(why->text, text, sizeof text);
    why->status = status;
    return -1;
}

int trainer_find_checkpoint(struct trainer *t, void (*report)(const char *), struct fail *why)
{
    char path[4200];
    struct run_state then;
    if (!(t->recipe->overwrite && is_none(t)) && same_run_check_replacer(t, why)) return -1;
    if (trainer_begins_anew(t)) return 0;
    if (!is_named(t)) {
        struct fail skipped;
        find_whole(t, &skipped, report);
        if (!t->checkpoint[0] && t->lengthens) {
            if (*skipped.text)
                fail_usage(why, "no checkpoint can be resumed: %.400s", skipped.text);
            else
                fail_usage(why, "there is no checkpoint to resume (save_strategy: no?)");
            return refuse_finished(t, why);
        }
        if (!t->checkpoint[0] && recipe_resume(t->recipe) == RESUME_NEWEST)
            return fail_usage(why,
                              "%s: resume_from_checkpoint: true, but no checkpoint there is "
                              "complete: auto would begin at step 0",
                              t->folder.path);
        if (!t->checkpoint[0]) return 0;
    } else {
        snprintf(t->checkpoint, sizeof t->checkpoint, "%s", t->recipe->resume);
        size_t length = strlen(t->checkpoint);
        while (length > 1 && t->checkpoint[length - 1] == '/')
            t->checkpoint[--length] = 0;
        if (verify_named(t, why)) return -1;
    }
    state_path(t, path);
    if (checkpoint_peek(path, &then, why)) return -1;
    if (then.sums != CHECKPOINT_SUMS) return refuse_other_sums(t, &then, why);
    /* If the recipe does not set the number of rows in a chunk, a resumed run keeps the
     * checkpoint's number, because the order of sums depends on it. */
    if (!t->recipe->chunk_rows && then.chunk > 0 && then.chunk <= t->setup.rows)
        t->setup.chunk = t->state.chunk = then.chunk;
    if (same_run_check(t, &then, why) || schedules_go_on(t, &then, why))
        return refuse_other_run(t, why);
    t->resumed = then.step;
    note_adoption(t);
    return check_later(t, why);
}

/* ---- resuming ---- */

static void describe_continuation(const struct trainer *t, void (*report)(const char *))
{
    char text[4400], schedules[600];
    snprintf(text, sizeof text, "resumed from %s: going on with step %lld", t->checkpoint,
             (long long)t->state.step + 1);
    report(text);
    if (t->state.since != t->state.step || !t->state.schedules[0]) return;
    schedules_describe(t, schedules, sizeof schedules);
    snprintf(text, sizeof text,
             "%s; from here on it is %s over %lld steps (warm-up %lld): the result differs from "
             "that of a run with this number from the start",
             schedules, recipe_schedules[t->optimiser.schedule], (long long)t->optimiser.steps,
             (long long)t->optimiser.warmup);
    report(text);
}

int trainer_load_state(struct trainer *t, struct fail *why)
{
    struct run_state now = t->state;
    char path[4200];
    state_path(t, path);
    if (checkpoint_load_state(path, t->model, &t->state, why)) return -1;
    memcpy(t->state.recipe, now.recipe, sizeof now.recipe);
    memcpy(t->state.base_config, now.base_config, sizeof now.base_config);
    memcpy(t->state.schedules, now.schedules, sizeof now.schedules);
    if (now.eval_data[0]) memcpy(t->state.eval_data, now.eval_data, sizeof now.eval_data);
    t->state.since = now.since;
    t->state.steps = now.steps;
    t->state.warmup = now.warmup;
    t->checkpoint_best_step = t->state.best_step;
    return 0;
}

/* Enters this run in the record. From here on the record and the log belong to this run. */
static int begin_record(struct trainer *t, struct fail *why)
{
    struct run_folder *f = &t->folder;
    json_t *run = trainer_run_json(t);
    int status = run ? run_folder_begin(f, run, why) : fail(why, "out of memory");
    json_decref(run);
    if (status || (t->adopts[0] && run_folder_adopt(f, t->adopts, why)) ||
        run_folder_add_file(f, "trainer_log.jsonl", why))
        return -1;
    if (t->recipe->report_to == REPORT_TENSORBOARD && !t->recipe->logging_dir &&
        run_folder_add_folder(f, "runs", why))
        return -1;
    return t->spooled[0] && run_folder_place_files(f, t->spooled, "train.samples", why) ? -1 : 0;
}

/* The run begins although it was to be resumed. That is a warning if it has made checkpoints. */
static void tell_beginning(const struct trainer *t, void (*report)(const char *))
{
    if (run_folder_lists_checkpoints(&t->folder))
        warn("%s/longqlora-run.json lists checkpoints, but none can be resumed: starting at step 0",
             t->folder.path);
    else
        report("no checkpoint to resume from: starting at step 0");
}

/* Begins the run, or resumes it from the checkpoint. */
static int begin_or_resume(struct trainer *t, void (*report)(const char *), struct fail *why)
{
    bool begins = trainer_begins_anew(t);
    if (output_check_space(t->folder.path, trainer_checkpoint_bytes(t), why)) return -1;
    if (begins && t->recipe->overwrite && replaced_set_aside(&t->folder, report, why)) return -1;
    if (t->checkpoint[0]) trainer_compare_eval_files(t, report);
    if (begin_record(t, why)) return -1;
    if (t->checkpoint[0]) {
        if (trainer_load_state(t, why)) return -1;
        describe_continuation(t, report);
    } else if (!begins) {
        tell_beginning(t, report);
    }
    if (trainer_restore_best(t, why)) return -1;
    proof_begin(t, report);
    return 0;
}

int trainer_resume(struct trainer *t, void (*report)(const char *), struct fail *why)
{
    if (!sharing_is_first(t))
        return (t->checkpoint[0] && trainer_load_state(t, why)) || sharing_meet(t, why) ? -1 : 0;
    return begin_or_resume(t, report, why) || sharing_meet(t, why) ? -1 : 0;
}
