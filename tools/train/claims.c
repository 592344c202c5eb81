/* Checks, before a run begins, that the run would not overwrite files of others. */
#include "lib/common/output.h"
#include "lib/llama/model_directory.h"
#include "tools/train/log.h"
#include "tools/train/replaced.h"
#include "tools/train/trainer.h"
#include "tools/train/unfinished.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

/* True for the names of weight files: a single file, shards, and their index. */
static bool is_weights(const char *name)
{
    size_t length = strlen(name), tail = strlen(".safetensors");
    return !strcmp(name, "model.safetensors") || !strcmp(name, "model.safetensors.index.json") ||
           (!strncmp(name, "model-", 6) && length > tail &&
            !strcmp(name + length - tail, ".safetensors"));
}

static int claim_model(const struct trainer *t, struct fail *why)
{
    const struct run_folder *f = &t->folder;
    const char *name;
    for (size_t i = 0; (name = companion_name(i)); i++)
        if (companions_hold(t->companions, name) && run_folder_claim(f, name, why)) return -1;
    DIR *dir = opendir(f->path);
    int status = 0;
    for (struct dirent *e; dir && !status && (e = readdir(dir));)
        if (is_weights(e->d_name)) status = run_folder_claim(f, e->d_name, why);
    if (dir) closedir(dir);
    if (!status) status = run_folder_claim(f, chain_file, why);
    return status ? status : run_folder_claim(f, "config.json", why);
}

static int claim_adapter(const struct run_folder *f, struct fail *why)
{
    return run_folder_claim(f, "adapter_model.safetensors", why) ||
                   run_folder_claim(f, "adapter_config.json", why) ||
                   run_folder_claim(f, "longqlora.json", why) ||
                   run_folder_claim(f, chain_file, why)
               ? -1
               : 0;
}

/* Fails if the run could not save a folder of this name. A run that starts over may replace a
 * folder of the run before it, but not if somebody has put files there, because
 * overwrite_output_dir leaves these. */
static int claim_folder(const struct trainer *t, const char *name, struct fail *why)
{
    const struct run_folder *f = &t->folder;
    char path[4096], own[RUN_NAME];
    run_folder_name(f, name, own);
    /* The run has no such folder yet, so the name without a suffix must be free. */
    if (!run_folder_owns(f, own) && !trainer_begins_anew(t) && run_folder_is_incomplete(f, name))
        return 0; /* a run that is resumed leaves it there, and saves under another name */
    if (!run_folder_owns(f, own))
        return run_folder_is_free(f, name) ? 0 : run_folder_claim(f, name, why);
    name = own;
    if (run_folder_check_free(f, name, why)) return -1;
    run_folder_path(f, name, path);
    if (!trainer_begins_anew(t) || !t->recipe->overwrite || !run_folder_owns(f, name) ||
        checkpoint_is_pure(path))
        return 0;
    return fail_usage(why,
                      "%s exists already and holds files that the run did not make, but the new "
                      "run would write there: move these files away, or name another output_dir",
                      path);
}

/* Checks the checkpoints of all later steps, because a signal can ask for a checkpoint at any
 * step. */
static int claim_checkpoints(const struct trainer *t, struct fail *why)
{
    char name[48];
    for (int64_t n = t->optimiser.steps + 1;
         (n = checkpoint_newest(t->folder.path, n)) > t->resumed;) {
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)n);
        if (claim_folder(t, name, why)) return -1;
    }
    return 0;
}

static int claim_result(const struct trainer *t, struct fail *why)
{
    return trainer_is_lora(t) ? claim_adapter(&t->folder, why) : claim_model(t, why);
}

/* Fails if the result would lie beside a file that makes something else of it: transformers takes a
 * folder with config.json and adapter_config.json for the model with the adapter applied. */
static int check_alone(const struct trainer *t, struct fail *why)
{
    char path[4096];
    struct stat st;
    bool is_lora = trainer_is_lora(t);
    run_folder_path(&t->folder, is_lora ? "config.json" : "adapter_config.json", path);
    if (lstat(path, &st)) return 0;
    return fail_usage(why,
                      "%s exists already, and the run would put %s beside it, which transformers "
                      "would take for one model with an adapter: move it away, or name another "
                      "output_dir",
                      path, is_lora ? "an adapter" : "a model");
}

int trainer_claim_result(const struct trainer *t, struct fail *why)
{
    if (t->folder.record) return 0;
    return claim_result(t, why) || check_alone(t, why) ? -1 : 0;
}

static int claim_names(const struct trainer *t, struct fail *why)
{
    const struct run_folder *f = &t->folder;
    const struct recipe *r = t->recipe;
    char name[RUN_NAME];
    if (trainer_begins_anew(t) && !r->overwrite && run_folder_newest(f, INT64_MAX, name) >= 0)
        return fail_usage(why,
                          "%s holds %s: to go on with it, set resume_from_checkpoint=auto; to "
                          "remove it, set overwrite_output_dir=true",
                          f->path, name);
    if (claim_checkpoints(t, why)) return -1;
    if (claim_result(t, why)) return -1;
    if (t->adopts[0] || run_folder_owns(f, "trainer_log.jsonl")) {
        if (log_check(f->path, why)) return -1;
    } else if (run_folder_claim(f, "trainer_log.jsonl", why)) {
        return -1;
    }
    if (r->report_to == REPORT_TENSORBOARD && !r->logging_dir && !t->adopts[0] &&
        run_folder_claim(f, "runs", why))
        return -1;
    if (t->spooled[0] && run_folder_claim(f, "train.samples", why)) return -1;
    if (!recipe_seeks_best(r)) return 0;
    return claim_folder(t, "best", why) || claim_folder(t, "best-before", why) ? -1 : 0;
}

/* Sets `name` to the first part of the path below the folder. Returns false if the path does not
 * lie in the folder. */
static bool lies_in(const char *folder, const char *path, char name[RUN_NAME]);

/* Fails if logging_dir is a folder that the run makes or removes itself. */
static int check_events(const struct trainer *t, struct fail *why)
{
    char name[RUN_NAME];
    const char *path = t->recipe->logging_dir;
    if (!lies_in(t->folder.path, path, name) ||
        (run_folder_step(name) < 0 && strncmp(name, "best", 4) != 0 && strcmp(name, "result") != 0))
        return 0;
    return fail_usage(why,
                      "%s/%s exists already: logging_dir=%s is a name that the run itself uses: "
                      "name another logging_dir",
                      t->folder.path, name, path);
}

/* Creates the folder of events first, so that a failure is reported before anything is removed. A
 * folder of somebody else whose name the run needs is refused, like any other file. If the folder
 * of events stays empty, it is removed at exit. */
int trainer_claim_names(const struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    bool has_events = r->report_to == REPORT_TENSORBOARD && r->logging_dir;
    if (has_events) unfinished_place(UNFINISHED_EVENTS, r->logging_dir);
    if (has_events && output_directory(r->logging_dir, why)) return fail_in(why, "logging_dir");
    if (has_events) unfinished_place_made(UNFINISHED_EVENTS);
    if (has_events && check_events(t, why)) return -1;
    return claim_names(t, why);
}

/* ---- inputs ---- */

static bool lies_in(const char *folder, const char *path, char name[RUN_NAME])
{
    char *whole = realpath(path, NULL), *root = realpath(folder, NULL);
    size_t length = root ? strlen(root) : 0;
    bool is_inside = whole && root && !strncmp(whole, root, length) && whole[length] == '/';
    if (is_inside) {
        const char *first = whole + length + 1;
        snprintf(name, RUN_NAME, "%.*s", (int)strcspn(first, "/"), first);
    }
    free(whole);
    free(root);
    return is_inside;
}

static bool is_replaced(const struct run_folder *f, const char *name)
{
    const char *aside = replaced_name(f);
    return aside && !strcmp(aside, name);
}

/* Fails if the run would remove this input. */
static int check_input(const struct trainer *t, const char *key, const char *path, struct fail *why)
{
    const struct run_folder *f = &t->folder;
    bool replaces = t->recipe->overwrite && trainer_begins_anew(t);
    char name[RUN_NAME];
    if (!path || !lies_in(f->path, path, name)) return 0;
    if (replaces && (run_folder_owns(f, name) || is_replaced(f, name)))
        return fail_usage(why,
                          "%s is %s, which overwrite_output_dir=true would remove: name another "
                          "output_dir",
                          key, path);
    if (!is_replaced(f, name)) return 0;
    return fail_usage(why,
                      "%s is %s, in the earlier run that is removed once the run in %s has saved "
                      "something: name another output_dir, or move %s/%s out of it",
                      key, path, f->path, f->path, name);
}

int trainer_check_inputs(const struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    static struct eval_file files[EVAL_FILES_MAX];
    const char *resume = recipe_resume(r) == RESUME_NAMED ? r->resume : NULL;
    int evals = eval_files_parse(r->eval_file, files, why);
    if (evals < 0 || check_input(t, "model_name_or_path", r->model, why) ||
        check_input(t, "adapter_name_or_path", r->adapter, why) ||
        check_input(t, "tokenizer", r->tokenizer, why) ||
        check_input(t, "train_file", r->train_file, why) ||
        check_input(t, "resume_from_checkpoint", resume, why))
        return -1;
    for (int i = 0; i < evals; i++)
        if (check_input(t, "eval_file", files[i].path, why)) return -1;
    return 0;
}
