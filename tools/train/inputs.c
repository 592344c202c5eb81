#include "tools/train/inputs.h"

#include "lib/common/file.h"
#include "lib/common/sha256.h"
#include "lib/llama/companions.h"
#include "lib/llama/model_files.h"
#include "lib/llama/named_templates.h"
#include "tools/train/eval_files.h"
#include "tools/train/guard.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static const char tokenizer_key[] = "tokenizer";

static int add(json_t *list, const char *key, const char *path, struct fail *why)
{
    return json_array_append_new(list, json_pack("{s:s,s:s}", "key", key, "path", path))
               ? fail(why, "%s=%.200s: cannot be recorded: not UTF-8, or out of memory", key, path)
               : 0;
}

/* Adds a file of a folder if it exists. */
static int add_in(json_t *list, const char *key, const char *folder, const char *name,
                  struct fail *why)
{
    char path[4096 + 256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) ? 0 : add(list, key, path, why);
}

static int add_model(json_t *list, const struct recipe *r, struct fail *why)
{
    static const char key[] = "model_name_or_path";
    size_t i;
    json_t *name;
    if (!file_is_folder(r->model)) return add(list, key, r->model, why);
    json_t *names = r->from_scratch ? json_array() : model_files_names(r->model, why);
    int status = names ? add_in(list, key, r->model, "config.json", why) : -1;
    json_array_foreach(names, i, name)
    {
        if (!status) status = add_in(list, key, r->model, json_string_value(name), why);
    }
    json_decref(names);
    return status;
}

static int add_adapter(json_t *list, const struct recipe *r, struct fail *why)
{
    static const char *const names[] = { "adapter_config.json", "adapter_model.safetensors",
                                         "adapter_model.bin", "longqlora.json",
                                         "trainable_params.bin" };
    for (size_t i = 0; r->adapter && i < sizeof names / sizeof *names; i++)
        if (add_in(list, "adapter_name_or_path", r->adapter, names[i], why)) return -1;
    return 0;
}

static int add_evaluations(json_t *list, const struct recipe *r, struct fail *why)
{
    static struct eval_file files[EVAL_FILES_MAX];
    int count = eval_files_parse(r->eval_file, files, why);
    for (int i = 0; i < count; i++)
        if (add(list, "eval_file", files[i].path, why)) return -1;
    return count < 0 ? -1 : 0;
}

/* Adds the files that are copied beside a whole model. They come last, because earlier versions did
 * not list them (inputs_compare). */
static int add_tokenizer(json_t *list, const struct recipe *r, struct fail *why)
{
    const char *name, *from = guard_companions(r);
    if (!from) return 0;
    if (!file_is_folder(from)) return r->tokenizer ? add(list, tokenizer_key, from, why) : 0;
    for (size_t i = 0; (name = companion_name(i)); i++)
        if (add_in(list, tokenizer_key, from, name, why)) return -1;
    json_t *templates = named_templates_find(from, why), *template;
    int status = templates ? 0 : -1;
    size_t i;
    json_array_foreach(templates, i, template)
    {
        if (!status) status = add_in(list, tokenizer_key, from, json_string_value(template), why);
    }
    json_decref(templates);
    return status;
}

json_t *inputs_list(const struct recipe *r, const char *samples, struct fail *why)
{
    json_t *list = json_array();
    const char *from = strcmp(r->train_file, "-") != 0 ? r->train_file : samples;
    if (!list)
        (void)fail(why, "out of memory");
    else if (!add(list, "train_file", from, why) && !add_model(list, r, why) &&
             !add_adapter(list, r, why) && !add_evaluations(list, r, why) &&
             !add_tokenizer(list, r, why))
        return list;
    json_decref(list);
    return NULL;
}

int inputs_hash(json_t *inputs, json_t *known, struct fail *why)
{
    size_t i;
    json_t *input;
    json_array_foreach(inputs, i, input)
    {
        char text[SHA256_TEXT];
        struct stat st;
        const char *path = json_get_text(input, "path");
        bool is_stream = !strcmp(path, "-") || (!stat(path, &st) && !S_ISREG(st.st_mode));
        snprintf(text, sizeof text, "%s", json_get_text(known, path));
        if (!is_stream && !*text && sha256_file(path, text, NULL, why))
            return fail_in(why, json_get_text(input, "key"));
        if (json_object_set_new(input, "sha256", json_string(text)) ||
            (known && json_object_set_new(known, path, json_string(text))))
            return fail(why, "out of memory");
    }
    return 0;
}

/* Fails if an input of the run was a pipe, and the user has not named a file in its place. */
int inputs_check_streams(const json_t *then, const json_t *now, struct fail *why)
{
    size_t i;
    json_t *before;
    json_array_foreach((json_t *)then, i, before)
    {
        const char *key = json_get_text(before, "key"), *path = json_get_text(before, "path");
        bool is_same_path = !strcmp(path, json_get_text(json_array_get(now, i), "path"));
        if (*json_get_text(before, "sha256") || !is_same_path) continue;
        return fail_input(why,
                          "%s was a pipe, %s, which cannot be read again: nothing is replayed; "
                          "name a file that has its bytes: %s=FILE",
                          key, path, key);
    }
    return 0;
}

static bool has_key(const json_t *list, size_t from, const char *key)
{
    for (size_t i = from; i < json_array_size(list); i++)
        if (!strcmp(json_get_text(json_array_get(list, i), "key"), key)) return true;
    return false;
}

int inputs_compare(const json_t *then, const json_t *now, const char *place, struct fail *why)
{
    size_t count = json_array_size(then), i;
    bool has_tokenizer = has_key(then, 0, tokenizer_key);
    json_t *input;
    json_array_foreach((json_t *)now, i, input)
    {
        /* An earlier version listed no files of a tokenizer, which come last. */
        if (!has_tokenizer && !strcmp(json_get_text(input, "key"), tokenizer_key)) break;
        const json_t *before = json_array_get(then, i);
        const char *key = json_get_text(input, "key"), *path = json_get_text(input, "path");
        const char *old = json_get_text(before, "path"), *sha256 = json_get_text(before, "sha256");
        bool is_lost = before && !has_key(now, i, json_get_text(before, "key"));
        if (is_lost) break;
        if (!before || strcmp(json_get_text(before, "key"), key) != 0)
            return fail_input(why, "%s: %s is not one of the run's inputs (%s)", key, path, place);
        /* The digest of a pipe is not known. */
        if (!*sha256 || !strcmp(sha256, json_get_text(input, "sha256"))) continue;
        if (!*json_get_text(input, "sha256"))
            return fail_input(why,
                              "%s: %s is a pipe, which cannot be compared with the file that the "
                              "run read: name a file: %s=FILE",
                              key, path, key);
        bool same_name = !strcmp(file_name_in(path), file_name_in(old));
        return fail_input(why,
                          "%s: %s differs from the file%s%s that the run read: SHA-256 %.16s… "
                          "then, %.16s… now",
                          key, path, same_name ? "" : " ", same_name ? "" : old, sha256,
                          json_get_text(input, "sha256"));
    }
    const json_t *lost = json_array_get(then, i);
    if (count == i) return 0;
    return fail_input(why, "%s: %s was one of the run's inputs (%s), and is not there",
                      json_get_text(lost, "key"), json_get_text(lost, "path"), place);
}
