/* Writes checkpoints and the result. */
#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/common/output.h"
#include "lib/llama/base_name.h"
#include "lib/llama/model_directory.h"
#include "model/adapter_save.h"
#include "tools/train/guard.h"
#include "tools/train/replaced.h"
#include "tools/train/schedules.h"
#include "tools/train/sharing.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

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
    if (!from) return 0;
    if (companions_read(&t->companions, place, why)) return -1;
    if (*companions_lack(t->companions))
        warn("%s; the result gets no tokenizer: name another one (tokenizer=)",
             companions_lack(t->companions));
    return 0;
}

static int save_model(struct trainer *t, const char *directory, struct fail *why)
{
    const struct parameters *p = model_parameters(t->model);
    struct tensor *table;
    int64_t count = tensors_list(&t->config, &table, why);
    /* With method full the parameters are all tensors, in the order of the table. */
    must(count < 0 || count == p->at_count);
    struct tensor_header *headers = count < 0 ? NULL : model_directory_headers(table, count, NULL);
    struct model_directory_job job = { .config = &t->config,
                                       .headers = headers,
                                       .count = count,
                                       .dtype = DTYPE_F32,
                                       .produce = produce_parameter,
                                       .arg = t->model,
                                       .companions = t->companions,
                                       .max_shard_bytes = (uint64_t)5 << 30 };
    int status = count < 0  ? -1
                 : !headers ? fail(why, "out of memory")
                            : model_directory_write(directory, &job, why);
    free(table);
    free(headers);
    return status;
}

/* Finds the name of the base. Warns if `tokenizer` was to name it and is another model, or none. */
static void find_base_name(struct trainer *t)
{
    const struct recipe *r = t->recipe;
    bool is_named =
        base_name(r->model, r->tokenizer, &t->weights, t->base_name, sizeof t->base_name);
    if (r->tokenizer && recipe_reads_tokenizer(r) && !is_named)
        warn("tokenizer=%s does nothing: it is not the model that %s was made of", r->tokenizer,
             file_shown(r->model));
}

static int save_adapter(struct trainer *t, const char *directory, struct fail *why)
{
    json_t *attention = json_pack(
        "{s:s,s:I,s:b}", "type", recipe_attention_name(t->recipe->attention), "group",
        (json_int_t)t->attention.group, "document_mask", (int)t->attention.masks_documents);
    json_t *recipe = json_copy(t->recipe_json);
    struct fail lack = { .status = STATUS_DONE };
    json_t *schedules = schedules_to_json(t, &lack);
    if (schedules) json_object_set_new(recipe, "schedules", schedules);
    if (!*t->base_name) find_base_name(t);
    if (!t->peft_name) t->peft_name = adapter_name_for_peft(t->base_name, &t->config);
    const struct template_record *template = reader_template(t->samples);
    if (!*template->name && t->adapter) template = &t->adapter->template;
    struct adapter_origin origin = { .base_name = t->base_name,
                                     .peft_name = t->peft_name,
                                     .base = t->weights.base,
                                     .tokenizer = t->weights.tokenizer,
                                     .quantization = t->weights.is_quantized ? "nf4" : "none",
                                     .attention = attention,
                                     .recipe = recipe,
                                     .template = template,
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

int trainer_fill_checkpoint(struct trainer *t, const char *directory, struct fail *why)
{
    char state[4200];
    snprintf(state, sizeof state, "%s/training_state", directory);
    if (save_result(t, directory, why) || sharing_ask_for_state(t, why) ||
        checkpoint_save_state(state, t->model, &t->state, why))
        return -1;
    json_t *files = checkpoint_measure(directory, why);
    int status = !files || proof_write(t, directory, "checkpoint", files, why) ||
                         checkpoint_seal(directory, files, why)
                     ? -1
                     : 0;
    json_decref(files);
    return status ? -1 : output_sync_directory(directory, why);
}

int trainer_fill_result(struct trainer *t, const char *directory, struct fail *why)
{
    if (save_result(t, directory, why)) return -1;
    json_t *files = t->proof.is_on ? checkpoint_measure(directory, why) : NULL;
    int status = t->proof.is_on && !files ? -1 : proof_write(t, directory, "result", files, why);
    json_decref(files);
    return status;
}

/* Warns once if somebody removed the folder or changed the record during the run. */
static void warn_of_folder(struct run_folder *f)
{
    static bool told_record, told_folder, told_stays;
    if (f->was_made_again && !told_folder)
        warn("output_dir was removed while the run was under way: made again as %s", f->path);
    if (f->lost_record && !told_record)
        warn("%s/longqlora-run.json: somebody changed it, or put something in its place: what the "
             "run makes from now on is not recorded there",
             f->path);
    if (*f->stays.text && !told_stays)
        warn("%s: it stays, and save_total_limit does not count it", f->stays.text);
    told_stays = *f->stays.text;
    told_folder = f->was_made_again;
    told_record = f->lost_record;
}

/* Warns, but not twice in a row of the same name, because a best model is saved again and again. */
static void warn_of_name(const struct run_folder *f, const char *wanted, const char *name)
{
    static char told[RUN_NAME];
    if (!strcmp(name, wanted) || !strcmp(name, told)) return;
    snprintf(told, sizeof told, "%s", name);
    warn("%s/%s exists already, and %s: saved as %s/%s", f->path, wanted,
         run_folder_is_incomplete(f, wanted) ? "is incomplete" : "the run did not make it", f->path,
         name);
}

/* Makes a checkpoint under a temporary name. If that fails, it is removed. */
static int make_checkpoint(struct trainer *t, const char *name, char made[4096], struct fail *why)
{
    char shown[4096];
    struct run_folder *f = &t->folder;
    if (run_folder_make(f, name, made, why)) return -1;
    run_folder_path(f, name, shown);
    if (!output_check_space(f->path, trainer_checkpoint_bytes(t), why) &&
        !trainer_fill_checkpoint(t, made, why))
        return 0;
    run_folder_unmake(made, shown, why);
    return -1;
}

/* Removes the run that overwrite_output_dir replaced, once this run has saved something. */
static void remove_replaced(struct run_folder *f, bool is_last)
{
    struct fail lack;
    if (replaced_remove(f, is_last, &lack)) warn("%s", lack.text);
}

int trainer_save(struct trainer *t, const char *wanted, struct fail *why)
{
    char made[4096], shown[4096], name[RUN_NAME];
    struct run_folder *f = &t->folder;
    run_folder_name(f, wanted, name);
    run_folder_path(f, name, shown);
    /* If the first try failed because somebody removed or moved the folder, a second try may
     * succeed. */
    bool was_there = run_folder_is_there(f);
    int status = make_checkpoint(t, name, made, why);
    if (status && was_there && !run_folder_is_there(f))
        status = make_checkpoint(t, name, made, why);
    if (!status && run_folder_place(f, made, wanted, name, why)) {
        run_folder_unmake(made, shown, why);
        status = -1;
    }
    if (!status) {
        proof_commit(&t->proof);
        warn_of_name(f, wanted, name);
        remove_replaced(f, false);
    }
    warn_of_folder(f);
    return status;
}

int trainer_checkpoint(struct trainer *t, struct fail *why)
{
    char wanted[48], name[RUN_NAME], best[RUN_NAME], before[RUN_NAME];
    struct run_folder *f = &t->folder;
    snprintf(wanted, sizeof wanted, "checkpoint-%lld", (long long)t->state.step);
    run_folder_name(f, wanted, name);
    bool is_there = t->resumed && t->resumed == t->state.step && run_folder_owns(f, name);
    if (!is_there && trainer_save(t, wanted, why)) return -1;
    t->checkpoint_best_step = t->state.best_step;
    run_folder_name(f, "best", best);
    run_folder_name(f, "best-before", before);
    if (recipe_seeks_best(t->recipe) && run_folder_give_way(f, before, best, why)) return -1;
    if (run_folder_prune(f, t->recipe->save_total_limit, t->state.step, why)) return -1;
    warn_of_folder(f);
    return 0;
}

/* ---- the result ---- */

json_t *trainer_run_json(const struct trainer *t)
{
    const struct run_state *s = &t->state;
    return json_pack("{s:o,s:O,s:s,s:s,s:s,s:s,s:s,s:s}", "eval_files", trainer_eval_json(t),
                     "recipe", t->recipe_json, "data", s->data, "tokenizer", s->tokenizer, "base",
                     s->base, "base_config", s->base_config, "rope", s->rope, "device", s->device);
}

json_t *trainer_outcome_json(const struct trainer *t)
{
    const struct recipe *r = t->recipe;
    /* -1: evaluations take place after each pass over the samples */
    int64_t steps = r->eval_strategy != INTERVAL_EPOCH ? t->due.evaluation : -1;
    json_t *best =
        !r->load_best ? json_null()
                      : json_pack("{s:s,s:I,s:b}", "eval_data",
                                  reader_digest(t->eval_files[0].samples), "eval_steps",
                                  (json_int_t)steps, "greater_is_better", r->greater == TOGGLE_YES);
    return json_pack("{s:o,s:I,s:f}", "best", best, "early_stopping_patience",
                     (json_int_t)r->patience, "early_stopping_threshold", r->threshold);
}

static json_t *list_files(const char *directory)
{
    json_t *list = json_array();
    DIR *dir = opendir(directory);
    for (const char *name; dir && (name = file_next_name(dir));)
        json_array_append_new(list, json_string(name));
    if (dir) closedir(dir);
    return list;
}

/* Renames the files of the result to their final names. If one of the names is taken, the result
 * goes to a folder of its own. */
static int place_result(struct trainer *t, const char *made, json_t *files, char aside[RUN_NAME],
                        struct fail *why)
{
    struct run_folder *f = &t->folder;
    int status = run_folder_place_files(f, made, trainer_last_file(t), why);
    *aside = 0;
    if (status <= 0) return status;
    struct fail lack;
    if (checkpoint_seal(made, NULL, &lack) || run_folder_place(f, made, "result", aside, &lack)) {
        *why = lack;
        return -1;
    }
    json_array_clear(files);
    return json_array_append_new(files, json_string(aside)) ? fail(why, "out of memory") : 0;
}

/* Removes the chain of the run's earlier result if the new one has none, because `train --verify`
 * would take the old chain for the chain of the new result. */
static int remove_old_chain(const struct trainer *t, struct fail *why)
{
    char path[4096];
    if (t->proof.is_on || !run_folder_owns(&t->folder, chain_file)) return 0;
    run_folder_path(&t->folder, chain_file, path);
    return unlink(path) ? fail(why, "%s: cannot remove: %s", path, strerror(errno)) : 0;
}

/* Returns the record's object "finished". `files` has the names of the result's files. */
static json_t *finished_json(const struct trainer *t, json_t *files)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:O,s:o}", "step", (json_int_t)t->state.step, "steps",
                     (json_int_t)t->optimiser.steps, "best_step", (json_int_t)t->state.best_step,
                     "worse", (json_int_t)t->state.worse, "files", files, "outcome",
                     trainer_outcome_json(t));
}

int trainer_finish(struct trainer *t, struct fail *why)
{
    char made[4096], aside[RUN_NAME] = "";
    struct run_folder *f = &t->folder;
    if ((t->recipe->load_best && t->state.best_step && trainer_load_best(t, why)) ||
        run_folder_make(f, "result", made, why))
        return -1;
    json_t *files = trainer_fill_result(t, made, why) ? NULL : list_files(made);
    int status = files ? place_result(t, made, files, aside, why) : -1;
    struct fail taken = *why;
    if (!status && !*aside) status = remove_old_chain(t, why);
    json_t *finished = status ? NULL : finished_json(t, files);
    if (!status)
        status = finished ? run_folder_finish(f, finished, why) : fail(why, "out of memory");
    if (status)
        run_folder_unmake(made, f->path, why);
    else
        remove_replaced(f, true);
    json_decref(files);
    json_decref(finished);
    warn_of_folder(f);
    if (status || !*aside) return status;
    return fail(why, "%.400s; the complete result is in %.200s/%s", taken.text, f->path, aside);
}
