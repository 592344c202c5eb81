#include "tools/train/trainer.h"

#include "tools/train/base_check.h"
#include "tools/train/choose_rope.h"
#include "tools/train/groups.h"
#include "tools/train/plan.h"
#include "tools/train/replaced.h"
#include "tools/train/rounds.h"
#include "tools/train/rows.h"
#include "tools/train/sharing.h"
#include "tools/train/targetless.h"

#include "lib/common/file.h"
#include "lib/common/output.h"
#include "lib/common/program.h"
#include "lib/common/rng.h"
#include "lib/common/vocabulary.h"
#include "lib/stream/targets.h"

#include <math.h>

bool trainer_is_lora(const struct trainer *t) { return t->recipe->method == METHOD_LORA; }

/* ---- opening ---- */

/* Fails if a file of samples begins with "{", as JSON lines do. The message names the programs that
 * make samples from such lines. */
static int refuse_text(const struct recipe *r, const char *path, struct fail *why)
{
    char first = 0;
    if (file_read_head(path, &first, 1, why) < 0) return -1;
    if (first != '{') return 0;
    return fail_usage(why,
                      "%s: JSON lines, samples are needed: %s --model tokenizer.model %s | %s "
                      "--context %lld > train.smp",
                      path, program_of("tokenize"), path, program_of("pack"),
                      (long long)(r->context ? r->context : 8192));
}

/* Opens samples that can be read in any order. */
static int index_samples(const struct trainer *t, const char *path, struct reader **samples,
                         struct sample_info *info, struct fail *why)
{
    if (refuse_text(t->recipe, path, why) ||
        samples_reader(samples, path, TOKEN_FORMAT_STREAM, info, why) ||
        reader_index(*samples, why))
        return -1;
    if (!reader_records(*samples)) return fail_input(why, "%s: holds no sample", path);
    return 0;
}

/* Copies the samples of standard input to a file of the run, so that the run can be resumed. */
static int spool_samples(struct trainer *t, char path[4200], struct fail *why)
{
    struct run_folder *f = &t->folder;
    char shown[4096];
    if (run_folder_prepare(f, why) || run_folder_make(f, "samples", t->spooled, why)) return -1;
    snprintf(path, 4200, "%s/train.samples", t->spooled);
    if (!output_copy("-", path, why)) return 0;
    run_folder_path(f, "train.samples", shown);
    fail_rename(why, path, shown);
    return -1;
}

/* If the samples come from standard input, an error names the temporary file with their copy.
 * Writes "standard input" in its place. */
static void fail_of_input(const struct trainer *t, struct fail *why)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/train.samples", t->spooled);
    if (t->spooled[0]) fail_rename(why, path, "standard input");
}

static int open_samples(struct trainer *t, struct fail *why)
{
    const char *path = t->recipe->train_file;
    char spooled[4200];
    if (!path) return 0;
    if (!strcmp(path, "-")) {
        if (t->plan_only)
            return fail_usage(why, "train_file: a plan does not read standard input: name a file, "
                                   "or set max_seq_length alone");
        if ((sharing_is_first(t) && spool_samples(t, spooled, why)) ||
            sharing_tell(t, t->spooled, sizeof t->spooled, why))
            return -1;
        snprintf(spooled, sizeof spooled, "%s/train.samples", t->spooled);
        path = spooled;
    }
    if (index_samples(t, path, &t->samples, &t->info, why)) return -1;
    if (t->spooled[0]) reader_call(t->samples, "standard input");
    memcpy(t->state.data, reader_digest(t->samples), sizeof t->state.data);
    return 0;
}

/* Does a token of these samples see only its own document? */
bool trainer_masks_documents(const struct recipe *r, const struct sample_info *info)
{
    return r->document_mask == TOGGLE_YES ||
           (r->document_mask == TOGGLE_AUTO && sample_info_masks_documents(info));
}

double trainer_planned_steps(const struct trainer *t)
{
    const struct recipe *r = t->recipe;
    if (r->max_steps || !t->samples) return (double)r->max_steps;
    return ceil((double)reader_records(t->samples) * r->epochs /
                (double)(r->batch_size * r->accumulation));
}

/* What to change if the samples are longer than the positions reach. */
static const char *more_positions(const struct recipe *r)
{
    if (strchr(r->rope, ':')) return "take a larger factor, or rope=auto";
    if (r->from_scratch)
        return "set max_position_embeddings in the model's config.json, or pack shorter samples";
    return strcmp(r->rope, "auto") ? "set rope=auto" : "pack shorter samples";
}

int trainer_plan_positions(struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    int64_t context = r->context ? r->context : (int64_t)t->info.context;
    if ((int64_t)t->info.context > context)
        return fail_input(why,
                          "%s: samples of up to %llu tokens, max_seq_length is %lld: raise it, or "
                          "pack them to that --context",
                          reader_name(t->samples), (unsigned long long)t->info.context,
                          (long long)context);
    if (config_set_original(&t->config, r->original_context, why))
        return fail_in(why, "original_context");
    if (t->adapter &&
        (adapter_set_rope(t->adapter, &t->config, why) ||
         (!t->plan_only && adapter_check_config(t->adapter, &t->config, r->model, why))))
        return fail_in(why, r->adapter);
    if (choose_rope(t, context, why)) return -1;
    if (config_check_rope(&t->config, why)) return fail_in(why, "rope");
    if (config_check_context(&t->config, context, why)) return -1;
    if (context > config_context(&t->config))
        return fail_usage(why, "max_seq_length %lld, but with rope=%s the positions reach %lld: %s",
                          (long long)context, r->rope, (long long)config_context(&t->config),
                          more_positions(r));
    bool is_s2 = r->attention == ATTENTION_S2;
    t->attention.group = !is_s2 ? 0 : r->group ? r->group : context / 4;
    t->attention.masks_documents = trainer_masks_documents(r, &t->info);
    if (r->batch_size * context > INT32_MAX)
        return fail_usage(why,
                          "per_device_train_batch_size times max_seq_length is %lld tokens, at "
                          "most %d: see gradient_accumulation_steps",
                          (long long)(r->batch_size * context), INT32_MAX);
    t->setup.positions = context;
    t->setup.rows = r->batch_size * context;
    t->setup.chunk = r->chunk_rows;
    return is_s2 ? batch_check_attention(&t->attention, why) : 0;
}

/* Fails if there are more ranks than blocks of batches in a step. */
static int check_ranks(const struct trainer *t, struct fail *why)
{
    int64_t ranks = t->setup.parts, batches = t->recipe->accumulation, block = t->recipe->block;
    if (ranks > batches)
        return fail_usage(why,
                          "%lld ranks, and a step has %lld batches: at most one rank for each "
                          "(gradient_accumulation_steps is the number of batches of a step)",
                          (long long)ranks, (long long)batches);
    int64_t blocks = (batches + block - 1) / block;
    if (ranks > blocks)
        return fail_usage(
            why,
            "%lld ranks, and a step has %lld blocks of %lld batches: at most one rank "
            "for each (see gradient_block)",
            (long long)ranks, (long long)blocks, (long long)block);
    return 0;
}

int trainer_plan_run(struct trainer *t, struct fail *why)
{
    const struct recipe *r = t->recipe;
    struct optimiser *o = &t->optimiser;
    *o = (struct optimiser){ .schedule = r->scheduler,
                             .learning_rate = r->learning_rate,
                             .beta1 = r->beta1,
                             .beta2 = r->beta2,
                             .eps = r->epsilon,
                             .decay = r->weight_decay,
                             .max_norm = r->max_grad_norm,
                             .warmup = r->warmup_steps };
    double steps = trainer_planned_steps(t);
    if (steps > RECIPE_STEPS_MAX)
        return fail_usage(why, "num_train_epochs makes %g steps, at most %d", steps,
                          RECIPE_STEPS_MAX);
    o->steps = (int64_t)steps;
    if (!o->warmup) o->warmup = (int64_t)ceil(r->warmup_ratio * (double)o->steps);
    due_plan(t);
    t->setup.is_training = true;
    t->setup.fp8 = r->fp8;
    t->setup.method = r->method;
    t->setup.batches = r->accumulation;
    t->setup.block = r->block;
    if (groups_plan(t, t->sample_ranks, why)) return -1;
    if (t->setup.segments < 2 && check_ranks(t, why)) return -1;
    if (!trainer_is_lora(t)) return 0;
    t->setup.rank = r->lora_rank;
    t->setup.alpha = r->lora_alpha;
    t->setup.dropout = r->lora_dropout;
    t->setup.modules_to_save = recipe_modules_to_save(r);
    if (t->embedding_alone) t->setup.modules_to_save &= ~parts_of_role(ROLE_HEAD);
    t->setup.each = t->fit.each;
    if (recipe_check_targets(r, &t->config, why)) return -1;
    return recipe_targets(r, &t->setup.targets, why);
}

static int open_eval_file(struct trainer *t, struct eval_file *f, struct fail *why)
{
    if (index_samples(t, f->path, &f->samples, &f->info, why)) return -1;
    const struct vocabulary own = { .tokenizer = f->info.text.tokenizer };
    const struct vocabulary training = { .name = "the training samples",
                                         .tokenizer = t->info.text.tokenizer };
    if (vocabulary_check(&own, &training, "both are made with the same tokenizer", why))
        return fail_in(why, f->path);
    if (rows_check(f->samples, &f->info, &t->weights, t->config.vocab, t->recipe->adapter, why))
        return -1;
    if ((int64_t)f->info.context > t->setup.positions)
        return fail_input(why,
                          "%s: samples of up to %llu tokens, max_seq_length is %lld: raise it, or "
                          "pack them to that --context",
                          f->path, (unsigned long long)f->info.context,
                          (long long)t->setup.positions);
    return targetless_check_eval(t, f, why);
}

static int open_evaluation(struct trainer *t, struct fail *why)
{
    t->eval_count = eval_files_parse(t->recipe->eval_file, t->eval_files, why);
    for (int i = 0; i < t->eval_count; i++)
        if (open_eval_file(t, &t->eval_files[i], why)) return -1;
    return t->eval_count < 0 ? -1 : 0;
}

/* Fills in the fields of the state that describe the run. A run that resumes this one must have the
 * same values, except for the loss scale, steps and warmup (schedules.h). */
static int describe_run(struct trainer *t, struct fail *why)
{
    struct run_state *s = &t->state;
    const struct kernels *k;
    t->recipe_json = recipe_to_json(t->recipe);
    if (t->adapter) json_object_set_new(t->recipe_json, "adapter", json_string(t->adapter->digest));
    if (t->embedding_alone)
        json_object_set_new(t->recipe_json, "train_embedding", json_string("embedding"));
    char *text = t->recipe_json ? json_dumps(t->recipe_json, JSON_COMPACT) : NULL;
    if (!text) return fail(why, "out of memory");
    snprintf(s->recipe, sizeof s->recipe, "%s", text);
    must(strlen(text) < sizeof s->recipe);
    free(text);
    snprintf(s->tokenizer, sizeof s->tokenizer, "%s", t->info.text.tokenizer);
    config_describe_rope(&t->config, s->rope, sizeof s->rope);
    if (base_config_text(&t->config, s->base_config, why)) return -1;
    if (kernels_choose(&k, t->setup.device, t->plan_only, why)) return -1;
    snprintf(s->device, sizeof s->device, "%s, %s", k->name, k->act_name);
    s->chunk = model_chunk(&t->setup, k->chunk_rows);
    s->loss_scale = t->recipe->loss_scale         ? t->recipe->loss_scale
                    : !strcmp(k->act_name, "f16") ? 65536
                                                  : 1;
    t->scales_loss = s->loss_scale > 1;
    s->steps = t->optimiser.steps;
    s->warmup = t->optimiser.warmup;
    if (t->eval_count && recipe_seeks_best(t->recipe))
        memcpy(s->eval_data, reader_digest(t->eval_files[0].samples), sizeof s->eval_data);
    return 0;
}

/* Rank 0 opens the run's folder, and reads the files that are copied to the result. It sends the
 * other ranks the two values of the earlier run in this folder that they need too. */
static int open_folder(struct trainer *t, struct fail *why)
{
    if (t->plan_only) return 0;
    if (t->is_replay) return sharing_is_first(t) ? trainer_read_companions(t, why) : 0;
    if (sharing_is_first(t) && (trainer_read_companions(t, why) ||
                                run_folder_open(&t->folder, t->recipe->output_dir, why) ||
                                replaced_put_back(&t->folder, why) ||
                                trainer_check_inputs(t, why) || trainer_claim_result(t, why)))
        return -1;
    t->embedding_alone = t->recipe->train_embedding == EMBEDDING_AND_HEAD && !t->adapter &&
                         trainer_trained_embedding_alone(t);
    if (sharing_is_first(t)) trainer_rope_there(t, t->rope_there, sizeof t->rope_there);
    return sharing_tell(t, &t->embedding_alone, sizeof t->embedding_alone, why) ||
                   sharing_tell(t, t->rope_there, sizeof t->rope_there, why)
               ? -1
               : 0;
}

/* Fails if the recipe wants fp8 and the device does not have it. */
static int check_fp8(const struct trainer *t, struct fail *why)
{
    const struct kernels *k;
    if (!t->recipe->fp8) return 0;
    if (kernels_choose(&k, t->setup.device, t->plan_only, why)) return -1;
    return k->probe_fp8(why) ? fail_in(why, "fp8: true") : 0;
}

int trainer_open(struct trainer *t, const struct recipe *recipe, struct adapter *adapter,
                 const struct trainer_place *place, bool plan_only, struct fail *why)
{
    *t = (struct trainer){ .recipe = recipe,
                           .adapter = adapter,
                           .order_epoch = -1,
                           .plan_only = plan_only,
                           .ranks = place->ranks };
    t->setup.device = place->device;
    t->setup.threads = place->threads;
    t->setup.parts = place->parts;
    t->setup.part = ranks_place(t->ranks)->rank;
    t->setup.ranks = t->ranks;
    t->sample_ranks = place->sample_ranks;
    t->is_replay = place->replayed_rope;
    if (t->is_replay) snprintf(t->rope_there, sizeof t->rope_there, "%s", place->replayed_rope);
    t->is_whole = true;
    int64_t most = recipe->block > recipe->segments ? recipe->block : recipe->segments;
    t->numbers = calloc((size_t)(sharing_count(t) * most), sizeof *t->numbers);
    if (!t->numbers) return fail(why, "out of memory");
    if (check_fp8(t, why) || open_folder(t, why)) return -1;
    if (!open_samples(t, why) && (plan_only || !trainer_check_early(t, why)) &&
        !trainer_open_base(t, why) && !trainer_plan_positions(t, why) &&
        !trainer_plan_run(t, why) && !open_evaluation(t, why))
        return describe_run(t, why);
    fail_of_input(t, why);
    return -1;
}

int trainer_prepare(struct trainer *t, struct fail *why)
{
    int64_t samples = t->recipe->batch_size * t->recipe->accumulation;
    t->step = calloc((size_t)samples, sizeof *t->step);
    t->nll = malloc((size_t)t->setup.rows * sizeof *t->nll);
    t->order = malloc(reader_records(t->samples) * sizeof *t->order);
    if (!t->step || !t->nll || !t->order) return fail(why, "out of memory");
    return batch_init(&t->batch, t->setup.rows, why);
}

int trainer_open_model(struct trainer *t, void (*report)(const char *), struct fail *why)
{
    /* Every rank measures the free memory before another one takes some. */
    if (plan_settle(t, &t->setup, why) || groups_agree(t, why) || plan_check(t, report, why) ||
        ranks_barrier(t->ranks, why))
        return -1;
    if (model_open(&t->model, &t->setup, &t->config, t->recipe->from_scratch ? NULL : &t->weights,
                   (uint64_t)t->recipe->seed, why))
        return -1;
    if (t->adapter && adapter_load(t->adapter, &t->fit, t->model, why)) return -1;
    if (base_check_begin(t, why)) return -1;
    if (t->adapter) adapter_forget_tensors(t->adapter);
    model_forget_weights(t->model, &t->weights);
    return 0;
}

int trainer_start(struct trainer *t, void (*report)(const char *), struct fail *why)
{
    if (trainer_prepare(t, why)) return -1;
    if ((sharing_is_first(t) && targetless_check_steps(t, report, why)) || sharing_meet(t, why))
        return -1;
    if (sharing_is_first(t) &&
        (trainer_find_checkpoint(t, report, why) || trainer_claim_names(t, why)))
        return -1;
    return sharing_tell_checkpoint(t, why) || trainer_open_model(t, report, why) ||
                   trainer_resume(t, report, why)
               ? -1
               : 0;
}

void trainer_close(struct trainer *t)
{
    int64_t samples = t->recipe ? t->recipe->batch_size * t->recipe->accumulation : 0;
    for (int64_t i = 0; t->step && i < samples; i++)
        sample_release(&t->step[i]);
    model_close(t->model);
    batch_release(&t->batch);
    reader_close(t->samples);
    for (int i = 0; i < t->eval_count; i++)
        reader_close(t->eval_files[i].samples);
    fit_release(&t->fit);
    weights_close(&t->weights);
    config_release(&t->config);
    json_decref(t->recipe_json);
    companions_free(t->companions);
    run_folder_close(&t->folder);
    proof_close(&t->proof);
    json_decref(t->peft_name);
    free(t->step);
    free(t->nll);
    free(t->order);
    free(t->numbers);
}

bool trainer_is_done_at(const struct trainer *t, int64_t step)
{
    int64_t patience = t->recipe->patience;
    return step >= t->optimiser.steps || (patience && t->state.worse >= patience);
}

bool trainer_is_done(const struct trainer *t) { return trainer_is_done_at(t, t->state.step); }

/* ---- a step ---- */

int trainer_sample_at(struct trainer *t, uint64_t position, uint64_t *number, struct fail *why)
{
    uint64_t count = reader_records(t->samples), epoch = position / count;
    if ((int64_t)epoch != t->order_epoch) {
        char purpose[48];
        snprintf(purpose, sizeof purpose, "order of epoch %llu", (unsigned long long)epoch);
        if (rng_permutation(rng_key((uint64_t)t->recipe->seed, purpose), t->order, count))
            return fail(why, "out of memory: the order of %llu samples", (unsigned long long)count);
        t->order_epoch = (int64_t)epoch;
    }
    *number = t->order[position % count];
    return 0;
}

/* Reads the samples of the step. Returns their number of targets. */
static int64_t read_step(struct trainer *t, int64_t samples, struct fail *why)
{
    int64_t targets = 0;
    for (int64_t i = 0; i < samples; i++) {
        uint64_t number;
        if (trainer_sample_at(t, (uint64_t)(t->state.step * samples + i), &number, why) ||
            samples_read_at(t->samples, &t->info, number, &t->step[i], why))
            return -1;
        targets += sample_targets(&t->step[i], &t->attention);
    }
    if (!targets)
        return fail_input(why, "%s: step %lld: its samples have no target tokens",
                          reader_name(t->samples), (long long)t->state.step + 1);
    return targets;
}

/* The loss scale grows and shrinks as in torch's GradScaler. One difference: a step whose gradient
 * overflowed is computed again and not skipped. */
enum { SCALE_GROWS_AFTER = 2000 };

/* Computes gradients and updates the parameters with AdamW. If the gradients overflow, it halves
 * the loss scale and tries again. Returns 1 if the run is to stop. */
static int update(struct trainer *t, int64_t targets, struct step_result *result, struct fail *why)
{
    char place[48];
    snprintf(place, sizeof place, "step %lld", (long long)t->state.step + 1);
    for (;;) {
        int status = rounds_add_gradients(t, targets, result, why);
        /* If the base was changed, a loss that is not finite says nothing. */
        bool is_alone = sharing_count(t) == 1;
        struct fail changed;
        int found = !status || (status < 0 && is_alone) ? base_check(t, place, &changed) : 0;
        if (found < 0) *why = changed;
        if (found && model_drop_gradients(t->model, why)) return -1;
        if (found == BASE_AGAIN) continue;
        if (status || found) return found ? found : status;
        status = optimiser_step(&t->optimiser, t->model, t->state.step, t->state.loss_scale,
                                &result->grad_norm, why);
        if (!status) return 0;
        if (status > 0 && t->state.loss_scale > 1) {
            t->state.loss_scale /= 2;
            t->state.scale_steps = 0;
            result->overflows++;
            continue;
        }
        if (status > 0)
            fail(why, "the gradient's norm is %f, the loss is %f", result->grad_norm, result->loss);
        return fail_in(why, place);
    }
}

void trainer_measure_fp8(struct trainer *t, int64_t batch)
{
    if (!t->recipe->fp8 || batch || !sharing_is_first(t)) return;
    if (t->has_measured_fp8 && !due_at(t, t->state.step + 1, DUE_LOG)) return;
    model_measure_fp8(t->model);
    t->has_measured_fp8 = t->measures_fp8 = true;
}

int trainer_step(struct trainer *t, struct step_result *result, struct fail *why)
{
    int64_t samples = t->recipe->batch_size * t->recipe->accumulation;
    int64_t targets = read_step(t, samples, why);
    if (targets < 0) return sharing_fail_before_batches(t, why);
    result->overflows = 0;
    t->measures_fp8 = false;
    result->learning_rate = optimiser_rate(&t->optimiser, t->state.step);
    model_range_begin(t->model, "step %lld", (long long)t->state.step + 1);
    base_check_guard(t, true);
    int status = update(t, targets, result, why);
    base_check_guard(t, false);
    t->is_whole = status >= 0 || t->lost_base;
    model_range_end(t->model);
    if (status) return status;
    result->has_fp8_error = t->measures_fp8 && model_fp8_error(t->model, &result->fp8_error);
    if (t->scales_loss && ++t->state.scale_steps == SCALE_GROWS_AFTER) {
        t->state.loss_scale *= 2;
        t->state.scale_steps = 0;
    }
    t->state.step++;
    t->state.tokens += (uint64_t)targets;
    t->state.computed += (uint64_t)result->tokens;
    t->state.loss_sum += result->loss;
    t->state.loss_steps++;
    return 0;
}

void trainer_begin_interval(struct trainer *t)
{
    t->state.loss_sum = 0;
    t->state.loss_steps = 0;
}
