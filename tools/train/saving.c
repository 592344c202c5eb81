/* Checkpoints, the result, and going on from a checkpoint. */
#include "../../lib/common/folder.h"
#include "../../lib/common/output.h"
#include "../../lib/llama/directory.h"
#include "trainer.h"

#include <errno.h>
#include <unistd.h>

static int produce_parameter(void *arg, int64_t index, struct safetensors_writer *w,
                             struct fail *why)
{
    const struct model *m = arg;
    const struct trainable *p = &model_parameters(m)->at[index];
    size_t bytes = (size_t)(p->rows * p->cols) * 4;
    float *host = malloc(bytes + 1);
    if (!host) return fail(why, "out of memory");
    model_kernels(m)->download(model_device(m), host, model_parameters(m)->value + p->offset,
                               bytes);
    int status = safetensors_put(w, host, bytes, why);
    free(host);
    return status;
}

static int save_model(struct trainer *t, const char *directory, struct fail *why)
{
    const struct parameters *p = model_parameters(t->model);
    struct tensor *table;
    int64_t count = tensors_list(&t->config, &table, why);
    must(count < 0 || count == p->at_count); /* method full: all, in the table's order */
    const char *files = t->recipe->tokenizer       ? t->recipe->tokenizer
                        : !t->recipe->from_scratch ? t->recipe->model
                                                   : NULL;
    struct tensor_header *headers = count < 0 ? NULL : directory_headers(table, count, NULL);
    struct directory_job job = { .config = &t->config,
                                 .headers = headers,
                                 .count = count,
                                 .dtype = DTYPE_F32,
                                 .produce = produce_parameter,
                                 .arg = t->model,
                                 .copy_from = files,
                                 .max_shard_bytes = (uint64_t)5 << 30 };
    int status = count < 0  ? -1
                 : !headers ? fail(why, "out of memory")
                            : directory_write(directory, &job, why);
    free(table);
    free(headers);
    return status;
}

static int save_adapter(struct trainer *t, const char *directory, struct fail *why)
{
    json_t *attention = json_pack("{s:s,s:I,s:b}", "type", t->recipe->attention, "group",
                                  (json_int_t)t->attention.group, "document_mask",
                                  (int)t->attention.masks_documents);
    struct adapter_origin origin = { .base_name = t->recipe->model,
                                     .base = t->weights.base,
                                     .tokenizer = t->weights.tokenizer,
                                     .quantization = t->weights.is_quantized ? "nf4" : "none",
                                     .attention = attention,
                                     .recipe = t->recipe_json };
    int status = adapter_save(t->model, &origin, directory, why);
    json_decref(attention);
    return status;
}

static int save_result(struct trainer *t, const char *directory, struct fail *why)
{
    return trainer_is_lora(t) ? save_adapter(t, directory, why) : save_model(t, directory, why);
}

/* Parameters in the result's file and in the state, two moments, and the small files. */
static uint64_t checkpoint_bytes(const struct trainer *t)
{
    return (uint64_t)model_parameters(t->model)->count * 16 + (4 << 20);
}

/* Makes the checkpoint's files under a temporary name. */
static int fill_checkpoint(struct trainer *t, const char *directory, struct fail *why)
{
    char state[4200];
    snprintf(state, sizeof state, "%s/training_state", directory);
    if (save_result(t, directory, why) || checkpoint_save_state(state, t->model, &t->state, why) ||
        checkpoint_seal(directory, why))
        return -1;
    return output_sync_directory(directory, why);
}

int trainer_checkpoint(struct trainer *t, struct fail *why)
{
    const char *root = t->recipe->output_dir;
    char temporary[4096], final[4096];
    struct fail ignored = { .status = STATUS_FAILED };
    if (t->resumed && t->resumed == t->state.step) return 0;
    snprintf(temporary, sizeof temporary, "%s/tmp-checkpoint-%lld", root, (long long)t->state.step);
    snprintf(final, sizeof final, "%s/checkpoint-%lld", root, (long long)t->state.step);
    if (!access(temporary, F_OK) && folder_remove(temporary, why)) return -1;
    if (output_room(root, checkpoint_bytes(t), why) || output_directory(temporary, why)) return -1;
    if (fill_checkpoint(t, temporary, why)) {
        if (folder_remove(temporary, &ignored)) return -1;
        return -1;
    }
    /* One of the same step was skipped as damaged, or is made again. */
    if (!access(final, F_OK) && folder_remove(final, why)) return -1;
    if (rename(temporary, final))
        return fail(why, "%s: cannot rename into place: %s", final, strerror(errno));
    if (output_sync_directory(root, why)) return -1;
    return checkpoint_prune(root, t->recipe->save_total_limit, why);
}

int trainer_finish(struct trainer *t, struct fail *why)
{
    return save_result(t, t->recipe->output_dir, why);
}

/* ---- going on ---- */

static int compare(const char *what, const char *then, const char *now, struct fail *why)
{
    if (!strcmp(then, now)) return 0;
    return fail_input(why, "%s changed since: %s then, %s now", what, then, now);
}

/* Names the first key whose value is another one. */
static int compare_recipes(const char *then, const json_t *now, struct fail *why)
{
    json_t *old = json_read_text(then, strlen(then), "recipe", why);
    const char *key;
    json_t *value;
    int status = old ? 0 : -1;
    json_object_foreach((json_t *)now, key, value)
    {
        json_t *before = json_object_get(old, key);
        if (status || (before && json_equal(before, value))) continue;
        char *a = before ? json_dumps(before, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *b = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        status = fail_input(why, "the recipe changed since: %s was %s, is %s", key,
                            a ? a : "not there", b ? b : "?");
        free(a);
        free(b);
    }
    json_object_foreach(old, key, value)
    {
        if (!status && !json_object_get(now, key))
            status = fail_input(why, "the recipe changed since: %s is not there any more", key);
    }
    json_decref(old);
    return status;
}

static int check_same_run(const struct trainer *t, const struct run_state *then, struct fail *why)
{
    const struct run_state *now = &t->state;
    char was[24], is[24];
    snprintf(was, sizeof was, "%lld", (long long)then->chunk);
    snprintf(is, sizeof is, "%lld", (long long)now->chunk);
    if (compare_recipes(then->recipe, t->recipe_json, why) ||
        compare("the tokenizer", then->tokenizer, now->tokenizer, why) ||
        compare("the samples", then->data, now->data, why) ||
        compare("the base", then->base, now->base, why) ||
        compare("rope", then->rope, now->rope, why) ||
        compare("the device", then->device, now->device, why) ||
        compare("the rows of a chunk", was, is, why))
        return -1;
    return 0;
}

/* The newest checkpoint that is whole, "" if there is none. */
static void find_whole(struct trainer *t, void (*say)(const char *))
{
    const char *root = t->recipe->output_dir;
    char text[4200];
    for (int64_t n = INT64_MAX;;) {
        struct fail why = { .status = STATUS_FAILED };
        n = checkpoint_newest(root, n);
        t->checkpoint[0] = '\0';
        if (n < 0) return;
        snprintf(t->checkpoint, sizeof t->checkpoint, "%s/checkpoint-%lld", root, (long long)n);
        if (!checkpoint_verify(t->checkpoint, &why)) return;
        snprintf(text, sizeof text, "skipped: %s", why.text);
        say(text);
    }
}

static bool is_auto(const char *from) { return !strcmp(from, "auto") || !strcmp(from, "true"); }
static bool is_none(const char *from) { return !strcmp(from, "none") || !strcmp(from, "false"); }

static void state_path(const struct trainer *t, char path[4200])
{
    snprintf(path, 4200, "%s/training_state", t->checkpoint);
}

int trainer_find_checkpoint(struct trainer *t, void (*say)(const char *), struct fail *why)
{
    const char *from = t->recipe->resume;
    char path[4200];
    struct run_state then;
    if (is_none(from)) return 0;
    if (is_auto(from)) {
        find_whole(t, say);
        if (!t->checkpoint[0]) return 0;
    } else {
        snprintf(t->checkpoint, sizeof t->checkpoint, "%s", from);
        if (checkpoint_verify(t->checkpoint, why)) return -1;
    }
    state_path(t, path);
    if (checkpoint_peek(path, &then, why)) return -1;
    /* Where the recipe leaves the rows of a chunk to the device they are those that the run began
     * with, whatever this program would take. */
    if (!t->recipe->chunk_rows && then.chunk > 0 && then.chunk <= t->setup.rows)
        t->setup.chunk = t->state.chunk = then.chunk;
    return check_same_run(t, &then, why) ? fail_in(why, t->checkpoint) : 0;
}

/* A run from step 0 does not write over another one. */
static int clear_directory(struct trainer *t, struct fail *why)
{
    static const char *const results[] = { "longqlora.json", "config.json" };
    const char *root = t->recipe->output_dir;
    char path[4096];
    int64_t n = checkpoint_newest(root, INT64_MAX);
    if (!t->recipe->overwrite) {
        if (n >= 0)
            return fail_usage(why,
                              "%s holds checkpoint-%lld: resume_from_checkpoint=auto goes on with "
                              "it, overwrite_output_dir=true removes it",
                              root, (long long)n);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s", root, results[i]);
            if (!access(path, F_OK))
                return fail_usage(why,
                                  "%s holds the result of a run: name another output_dir, or "
                                  "overwrite_output_dir=true",
                                  root);
        }
        return 0;
    }
    for (; n >= 0; n = checkpoint_newest(root, n)) {
        snprintf(path, sizeof path, "%s/checkpoint-%lld", root, (long long)n);
        if (folder_remove(path, why)) return -1;
    }
    return 0;
}

int trainer_resume(struct trainer *t, void (*say)(const char *), struct fail *why)
{
    const char *root = t->recipe->output_dir;
    char path[4200], text[4200];
    if (output_directory(root, why) || checkpoint_remove_unfinished(root, why) ||
        output_room(root, checkpoint_bytes(t), why))
        return -1;
    if (is_none(t->recipe->resume)) return clear_directory(t, why);
    if (!t->checkpoint[0]) {
        say("no checkpoint to resume from: starting at step 0");
        return 0;
    }
    state_path(t, path);
    if (checkpoint_load_state(path, t->model, &t->state, why)) return -1;
    t->resumed = t->state.step;
    snprintf(text, sizeof text, "resumed from %s: going on with step %lld", t->checkpoint,
             (long long)t->state.step + 1);
    say(text);
    return 0;
}
