#include "guard.h"

#include "../../lib/common/companions.h"
#include "../../lib/common/file_guard.h"
#include "../../lib/common/model_guard.h"
#include "../../lib/llama/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Names that a run writes in output_dir itself. */
static bool writes_adapter(const char *name)
{
    static const char *const names[] = { "adapter_config.json", "adapter_model.safetensors",
                                         "longqlora.json", "trainer_log.jsonl" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static bool writes_model(const char *name)
{
    return directory_holds(name) || !strcmp(name, "trainer_log.jsonl");
}

static int guard_inputs(const struct recipe *r, const char *recipe_file, bool is_full,
                        struct fail *why)
{
    if (file_guard_input("", recipe_file, why) ||
        model_guard_input("model_name_or_path=", r->model, why) ||
        (r->adapter && model_guard_input("adapter_name_or_path=", r->adapter, why)) ||
        (r->tokenizer && is_full && model_guard_input("tokenizer=", r->tokenizer, why)) ||
        (r->train_file && file_guard_input("train_file=", r->train_file, why)) ||
        (r->eval_file && file_guard_input("eval_file=", r->eval_file, why)))
        return -1;
    return 0;
}

static int check_folder(const char *path, struct fail *why)
{
    struct target t;
    if (!strcmp(path, "-")) return fail_usage(why, "output_dir=-: a folder is made: name one");
    if (target_find(&t, path, why)) return fail_in(why, "output_dir");
    if (t.kind != TARGET_FOLDER && (t.exists || t.kind != TARGET_FILE))
        return fail_usage(why, "output_dir=%.200s: not a folder, and one is made: name another",
                          path);
    if (!t.exists) return target_check_above(&t, path, why) ? fail_in(why, "output_dir") : 0;
    if (!faccessat(AT_FDCWD, t.path, W_OK | X_OK, AT_EACCESS)) return 0;
    return fail(why, "output_dir=%.200s: may not be written: %s", path, strerror(errno));
}

int guard_files(const struct recipe *r, const char *recipe_file, bool plan_only, struct fail *why)
{
    bool is_full = !strcmp(r->method, "full");
    if (guard_inputs(r, recipe_file, is_full, why)) return -1;
    if (plan_only) return file_guard_output("", "-", why);
    if (check_folder(r->output_dir, why) ||
        file_guard_output_folder("output_dir=", r->output_dir,
                                 is_full ? writes_model : writes_adapter, why))
        return -1;
    const char *files = r->tokenizer                                          ? r->tokenizer
                        : !r->from_scratch && weights_are_directory(r->model) ? r->model
                                                                              : NULL;
    return is_full && files ? companions_check(files, NULL, why) : 0;
}
