/* Checkpoints and the result. */
#include "../../lib/common/output.h"
#include "../../lib/llama/adapter_save.h"
#include "../../lib/llama/base_name.h"
#include "../../lib/llama/directory.h"
#include "guard.h"
#include "schedules.h"

#include <dirent.h>

static int produce_parameter(void *arg, int64_t index, struct safetensors_writer *w,
                             struct fail *why)
{
    const struct model *m = arg;
    const struct trainable *p = &model_parameters(m)->at[index];
    size_t bytes = (size_t)(p->rows * p->cols) * 4;
    float *host = model_trained(m, p, why);
    if (!host) return -1;
    int status = safetensors_put(w, host, bytes, why);
    free(host);
    return status;
}

int trainer_read_companions(struct trainer *t, struct fail *why)
{
    const char *from = guard_companions(t->recipe);
    struct companions_place place = { .folder = from };
    return from ? companions_read(&t->companions, place, why) : 0;
}

static int save_model(struct trainer *t, const char *directory, struct fail *why)
{
    const struct parameters *p = model_parameters(t->model);
    struct tensor *table;
    int64_t count = tensors_list(&t->config, &table, why);
    must(count < 0 || count == p->at_count); /* method full: all, in the table's order */
    struct tensor_header *headers = count < 0 ? NULL : directory_headers(table, count, NULL);
    struct directory_job job = { .config = &t->config,
                                 .headers = headers,
                                 .count = count,
                                 .dtype = DTYPE_F32,
                                 .produce = produce_parameter,
                                 .arg = t->model,
                                 .companions = t->companions,
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
    json_t *recipe = json_copy(t->recipe_json);
    struct fail lack = { .status = STATUS_DONE };
    json_t *schedules = schedules_to_json(t, &lack);
    if (schedules) json_object_set_new(recipe, "schedules", schedules);
    if (!*t->base_name)
        base_name(t->recipe->model, t->recipe->tokenizer, &t->weights, t->base_name,
                  sizeof t->base_name);
    const struct stream_wording *wording = reader_wording(t->samples);
    if (!*wording->name && t->adapter) wording = &t->adapter->wording;
    struct adapter_origin origin = { .base_name = t->base_name,
                                     .base = t->weights.base,
                                     .tokenizer = t->weights.tokenizer,
                                     .quantization = t->weights.is_quantized ? "nf4" : "none",
                                     .attention = attention,
                                     .recipe = recipe,
                                     .wording = wording,
                                     .from = t->adapter };
    int status =
        lack.status ? fail(why, "%s", lack.text) : adapter_save(t->model, &origin, directory, why);
    json_decref(attention);
    json_decref(recipe);
    return status;
}

static int save_result(struct trainer *t, const char *directory, struct fail *why)
{
    return trainer_is_lora(t) ? save_adapter(t, directory, why) : save_model(t, directory, why);
}

const char *trainer_last_file(const struct trainer *t)
{
    return trainer_is_lora(t) ? "longqlora.json" : "config.json";
}

uint64_t trainer_checkpoint_bytes(const struct trainer *t)
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

int trainer_save(struct trainer *t, const char *name, struct fail *why)
{
    char made[4096];
    if (run_folder_make(&t->folder, name, made, why)) return -1;
    if (!output_room(t->folder.path, trainer_checkpoint_bytes(t), why) &&
        !fill_checkpoint(t, made, why) && !run_folder_place(&t->folder, made, name, why))
        return 0;
    char shown[4096];
    snprintf(shown, sizeof shown, "%s/%s", t->folder.path, name);
    run_folder_unmake(made, shown, why);
    return -1;
}

int trainer_checkpoint(struct trainer *t, struct fail *why)
{
    char name[48];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)t->state.step);
    bool is_there = t->resumed && t->resumed == t->state.step && run_folder_owns(&t->folder, name);
    if (!is_there && trainer_save(t, name, why)) return -1;
    t->kept_best = t->state.best_step;
    if (recipe_seeks_best(t->recipe) && run_folder_give_way(&t->folder, "best-before", "best", why))
        return -1;
    return run_folder_prune(&t->folder, t->recipe->save_total_limit, t->state.step, why);
}

/* ---- the result ---- */

json_t *trainer_run_json(const struct trainer *t)
{
    const struct run_state *s = &t->state;
    return json_pack("{s:O,s:s,s:s,s:s,s:s,s:s}", "recipe", t->recipe_json, "data", s->data,
                     "tokenizer", s->tokenizer, "base", s->base, "rope", s->rope, "device",
                     s->device);
}

json_t *trainer_outcome_json(const struct trainer *t)
{
    const struct recipe *r = t->recipe;
    /* -1: after each pass over the samples. */
    int64_t steps = strcmp(r->eval_strategy, "epoch") != 0 ? t->due.evaluation : -1;
    json_t *best =
        !r->load_best
            ? json_null()
            : json_pack("{s:s,s:I,s:b}", "eval_data", reader_digest(t->evaluation), "eval_steps",
                        (json_int_t)steps, "greater_is_better", r->greater == TOGGLE_YES);
    return json_pack("{s:o,s:I,s:f}", "best", best, "early_stopping_patience",
                     (json_int_t)r->patience, "early_stopping_threshold", r->threshold);
}

static json_t *list_files(const char *directory)
{
    json_t *list = json_array();
    DIR *dir = opendir(directory);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            json_array_append_new(list, json_string(e->d_name));
    if (dir) closedir(dir);
    return list;
}

int trainer_finish(struct trainer *t, struct fail *why)
{
    char made[4096];
    struct run_folder *f = &t->folder;
    if ((t->recipe->load_best && t->state.best_step && trainer_load_best(t, why)) ||
        run_folder_make(f, "result", made, why))
        return -1;
    json_t *files = save_result(t, made, why) ? NULL : list_files(made);
    json_t *finished =
        files ? json_pack("{s:I,s:I,s:I,s:I,s:O,s:o}", "step", (json_int_t)t->state.step, "steps",
                          (json_int_t)t->optimiser.steps, "best_step",
                          (json_int_t)t->state.best_step, "worse", (json_int_t)t->state.worse,
                          "files", files, "outcome", trainer_outcome_json(t))
              : NULL;
    int status = !files ? -1 : !finished ? fail(why, "out of memory") : 0;
    if (!status) status = run_folder_place_files(f, made, trainer_last_file(t), why);
    if (!status) status = run_folder_finish(f, finished, why);
    if (status) run_folder_unmake(made, f->path, why);
    json_decref(files);
    json_decref(finished);
    return status;
}
