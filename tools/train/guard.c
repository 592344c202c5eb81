#include "tools/train/guard.h"

#include "tools/train/eval_files.h"

#include "lib/common/file_guard.h"
#include "lib/common/hub_name.h"
#include "lib/common/utf8.h"
#include "lib/llama/companions.h"
#include "lib/llama/model_directory.h"
#include "lib/llama/model_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* True for the files of the result that a run of adapters writes. run_folder.h protects foreign
 * files that have the name of another file of a run. */
static bool writes_adapter(const char *name)
{
    static const char *const names[] = { "adapter_config.json", "adapter_model.safetensors",
                                         "longqlora.json", "proof.jsonl", "trainer_log.jsonl" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static bool writes_model(const char *name)
{
    return model_directory_holds(name) || !strcmp(name, "trainer_log.jsonl") ||
           !strcmp(name, "proof.jsonl");
}

/* Fails if the base's name could not be written to adapter_config.json at the end of the run. */
static int check_name(const char *path, struct fail *why)
{
    size_t length = strlen(path);
    for (size_t at = 0, n; at < length; at += n)
        if (!(n = utf8_valid((const unsigned char *)path + at, length - at)))
            return fail_usage(why,
                              "model_name_or_path=%.200s: not UTF-8, so that adapter_config.json "
                              "cannot name it: rename it, or name a link to it",
                              path);
    return 0;
}

/* Fails if `tokenizer` has an effect but does not exist. Otherwise an adapter would name another
 * base, without a message before the first checkpoint. */
static int check_tokenizer(const struct recipe *r, struct fail *why)
{
    if (!r->tokenizer || !recipe_reads_tokenizer(r) || !access(r->tokenizer, F_OK)) return 0;
    (void)hub_name_absent(r->tokenizer, errno, why);
    return fail_in(why, "tokenizer");
}

static int guard_inputs(const struct recipe *r, const char *recipe_file, bool is_full,
                        struct fail *why)
{
    if (file_guard_input("", recipe_file, why) ||
        model_guard_input("model_name_or_path=", r->model, why) ||
        (r->adapter && model_guard_input("adapter_name_or_path=", r->adapter, why)) ||
        (r->tokenizer && is_full && model_guard_input("tokenizer=", r->tokenizer, why)) ||
        (r->train_file && file_guard_input("train_file=", r->train_file, why)))
        return -1;
    static struct eval_file files[EVAL_FILES_MAX];
    int count = eval_files_parse(r->eval_file, files, why);
    for (int i = 0; i < count; i++)
        if (file_guard_input("eval_file=", files[i].path, why)) return -1;
    return count < 0 ? -1 : 0;
}

static bool is_checkpoint(const char *folder)
{
    static const char *const files[] = { "manifest.json", "training_state" };
    char path[4200];
    bool has_all = true;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        has_all = has_all && !access(path, F_OK);
    }
    return has_all;
}

/* Fails if output_dir lies inside a checkpoint, because checkpoints are removed and foreign files
 * would prevent that. */
static int check_outside(const struct target *t, struct fail *why)
{
    char at[sizeof t->path], whole[PATH_MAX];
    snprintf(at, sizeof at, "%s", t->path);
    while (!realpath(at, whole)) {
        char *slash = strrchr(at, '/');
        if (slash == at || !strcmp(at, ".")) return 0;
        if (slash)
            *slash = 0;
        else
            snprintf(at, sizeof at, ".");
    }
    for (char *slash; *whole; *slash = 0) {
        if (is_checkpoint(whole))
            return fail_usage(why,
                              "output_dir=%.150s: %.150s is a run's checkpoint, in which no other "
                              "run may write: name another",
                              t->path, whole);
        slash = strrchr(whole, '/');
        if (!slash) break;
    }
    return 0;
}

static int check_folder(const char *path, struct fail *why)
{
    struct target t;
    struct stat root;
    if (!strcmp(path, "-"))
        return fail_usage(why, "output_dir=-: the output is a folder: name a folder");
    if (target_find(&t, path, why)) return fail_in(why, "output_dir");
    if (t.kind != TARGET_FOLDER && (t.exists || t.kind != TARGET_FILE))
        return fail_usage(
            why, "output_dir=%.200s: not a folder, but the output is a folder: name another", path);
    if (t.exists && !stat("/", &root) && t.st.st_dev == root.st_dev && t.st.st_ino == root.st_ino)
        return fail_usage(why,
                          "output_dir=%.200s: is the root of all folders: name a folder for the "
                          "run, such as output_dir=run",
                          path);
    if (check_outside(&t, why)) return -1;
    if (!t.exists) return target_check_above(&t, path, why) ? fail_in(why, "output_dir") : 0;
    if (!faccessat(AT_FDCWD, t.path, W_OK | X_OK, AT_EACCESS)) return 0;
    return fail(why, "output_dir=%.200s: may not be written: %s: name another", path,
                strerror(errno));
}

const char *guard_companions(const struct recipe *r)
{
    if (r->method != METHOD_FULL) return NULL;
    if (r->tokenizer) return r->tokenizer;
    return !r->from_scratch && weights_have_companions(r->model) ? r->model : NULL;
}

int guard_files(const struct recipe *r, const char *recipe_file, bool plan_only, struct fail *why)
{
    bool is_full = r->method == METHOD_FULL;
    if (!plan_only && check_name(r->model, why)) return -1;
    if (!plan_only && check_tokenizer(r, why)) return -1;
    if (guard_inputs(r, recipe_file, is_full, why)) return -1;
    if (plan_only) return file_guard_output("", "-", why);
    if (check_folder(r->output_dir, why) ||
        file_guard_output_folder("output_dir=", r->output_dir,
                                 is_full ? writes_model : writes_adapter, why))
        return -1;
    return 0;
}
