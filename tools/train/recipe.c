#include "tools/train/recipe_inside.h"

#include "lib/common/buffer.h"
#include "lib/common/nearest.h"

#include <math.h>
#include <stddef.h>

enum { KEY_NAME = 64 }; /* the largest number of bytes of a key, including its NUL */

/* The meanings of keys that do not fit on one line of the table below. */
static const char resume_from_checkpoint_text[] =
    "auto: from the newest complete checkpoint of this run, or from step 0 if there is none; true: "
    "as auto, but there must be a checkpoint; none, false: from step 0, unless a finished run is "
    "continued for more steps; or the path of a checkpoint-N";
static const char tokenizer_text[] =
    "directory of the tokenizer files that are copied to a new model, or a GGUF file; with method: "
    "lora and a weights stream: the model that the stream was made of, which adapter_config.json "
    "then names as the base";
static const char save_strategy_text[] =
    "steps: every save_steps, and after the last step, so that more steps can follow; epoch: after "
    "each pass over the samples; best: after each evaluation that finds a better model; no: only "
    "when a signal stops the run";
static const char eval_strategy_text[] =
    "auto: every eval_steps, if there is an eval_file; steps: as auto, but eval_steps 0 means "
    "logging_steps; epoch: after each pass over the samples; no: never";
static const char metric_for_best_model_text[] =
    "measure that decides which model is the best; that model is kept in output_dir/best; if "
    "load_best_model_at_end or early_stopping_patience is set, the default is loss";
static const char train_embedding_text[] = "true: train embedding and head too, as LongQLoRA does; "
                                           "embedding: only the embedding, as LongLoRA does";
static const char loss_scale_text[] =
    "initial factor of the loss, halved when gradients overflow, doubled after 2000 good updates; "
    "0: 65536 in f16, otherwise no factor";
static const char gradient_checkpointing_text[] =
    "recompute layers in the backward instead of storing their activations; auto: only the layers "
    "whose activations do not fit in memory";
static const char offload_activations_text[] =
    "on a GPU, keep the inputs of layers, and the outputs of attention if they fit, in host memory "
    "until the backward; auto: if the run does not fit otherwise";
static const char chunk_rows_text[] =
    "rows that a layer computes together, except in attention; 0: 4096 on a GPU, 512 on a CPU";
static const char context_segments_text[] =
    "segments of a sample, which several ranks share, so that they can train longer samples than "
    "one GPU can; each sum over a sample's tokens adds the sums of its segments";
static const char context_exchange_text[] =
    "what the ranks of a sample send each other for attention; heads: all rows; groups: the rows "
    "of those groups of s2 that lie on two ranks, which are fewer; auto: groups where that is "
    "possible";
static const char gradient_block_text[] =
    "batches of an update that one rank computes one after the other, and whose gradients it sums "
    "before it sends them; a larger number sends less over a slow network";
static const char report_to_text[] =
    "tensorboard, or all: also write event files, to logging_dir; a list is possible";
static const char deepspeed_text[] =
    "ranks share gradients and moments without it: see --ranks; a file is not read: an optimizer "
    "or a scheduler in it, which counts in the Trainer, does not count here";
static const char overwrite_output_dir_text[] =
    "replace the earlier run in output_dir, and start at step 0; its files are moved to "
    "output_dir/replaced and removed when the new run has saved something; other files stay";

static const char fp8_text[] =
    "multiply by the frozen weights of the layers in 8 bits (e4m3): on GPUs of compute capability "
    "8.9 or higher with bf16; a CPU computes the same numbers, not faster";

#define AT(field) offsetof(struct recipe, field)
const struct recipe_key recipe_keys[] = {
    { "output_dir", TEXT, AT(output_dir), 0, NULL, "directory of the checkpoints and the result" },
    { "model_name_or_path", TEXT, AT(model), 0, NULL,
      "model directory, GGUF file, weights stream, or (from_scratch) config.json" },
    { "adapter_name_or_path", TEXT, AT(adapter), OURS, NULL,
      "adapter to train further, with its own values, rank, alpha, dropout and target modules" },
    { "train_file", TEXT, AT(train_file), 0, NULL,
      "stream of samples; - is standard input, which is first copied into output_dir" },
    { "tokenizer", TEXT, AT(tokenizer), OURS, NULL, tokenizer_text },
    { "resume_from_checkpoint", TEXT, AT(resume), 0, NULL, resume_from_checkpoint_text },
    { "num_train_epochs", REAL, AT(epochs), DECIDES, NULL,
      "passes over the samples, if max_steps is 0" },
    { "max_steps", COUNT, AT(max_steps), DECIDES, NULL,
      "number of updates; 0 or less: num_train_epochs decides" },
    { "per_device_train_batch_size", COUNT, AT(batch_size), DECIDES, NULL,
      "samples of a batch, which are computed together" },
    { "gradient_accumulation_steps", COUNT, AT(accumulation), DECIDES, NULL,
      "batches in one update, however many ranks share them" },
    { "gradient_block", COUNT, AT(block), DECIDES | OURS | LATER, NULL, gradient_block_text },
    { "max_seq_length", COUNT, AT(context), DECIDES, NULL,
      "largest number of tokens in a sample; 0: the context of the samples" },
    { "model_max_length", COUNT, AT(context), DECIDES, NULL,
      "another name of max_seq_length, which the original recipes use" },
    { "context_segments", COUNT, AT(segments), DECIDES | OURS | LATER, NULL,
      context_segments_text },
    { "context_exchange", WORD, AT(exchange), OURS, recipe_exchanges, context_exchange_text },
    { "seed", COUNT, AT(seed), DECIDES, NULL,
      "seed of the order of samples, of initial values and of dropout" },
    { "logging_steps", STEPS, AT(logging_steps), 0, NULL,
      "updates between log lines; below 1: a share of all updates" },
    { "logging_strategy", WORD, AT(logging_strategy), 0, recipe_log_intervals,
      "steps: every logging_steps, and after the last step; epoch: after each pass over the "
      "samples" },
    { "logging_first_step", FLAG, AT(log_first), 0, NULL, "log the first step too" },
    { "save_steps", STEPS, AT(save_steps), 0, NULL,
      "updates between checkpoints; below 1: a share of all updates; 0: only after the last step" },
    { "save_total_limit", COUNT, AT(save_total_limit), 0, NULL,
      "how many of the newest complete checkpoints of this run are kept, besides read-only ones; "
      "0, null: all" },
    { "save_strategy", WORD, AT(save_strategy), 0, recipe_save_intervals, save_strategy_text },
    { "eval_file", PATHS, AT(eval_file), 0, NULL,
      "stream of samples on which the model is evaluated, without dropout; or a list of streams, "
      "of which the first decides which model is the best" },
    { "eval_strategy", WORD, AT(eval_strategy), 0, recipe_eval_intervals, eval_strategy_text },
    { "eval_steps", STEPS, AT(eval_steps), 0, NULL,
      "updates between evaluations; below 1: a share of all updates; 0: only after the last one" },
    { "eval_delay", REAL, AT(eval_delay), 0, NULL,
      "updates before the first evaluation; with eval_strategy: epoch, passes" },
    { "eval_on_start", FLAG, AT(eval_on_start), 0, NULL,
      "evaluate before the first update too, unless there is an eval_delay" },
    { "load_best_model_at_end", FLAG, AT(load_best), 0, NULL,
      "the result is the best model that an evaluation found; it is in output_dir/best" },
    { "metric_for_best_model", WORD, AT(metric), 0, recipe_metrics, metric_for_best_model_text },
    { "greater_is_better", AUTO_FLAG, AT(greater), 0, NULL,
      "whether a greater metric is better; auto: no, because the metric is a loss" },
    { "early_stopping_patience", COUNT, AT(patience), 0, NULL,
      "end the run after this many evaluations in a row without a better one; 0: never" },
    { "early_stopping_threshold", REAL, AT(threshold), 0, NULL,
      "early_stopping_patience counts an evaluation as better only if it is better by more than "
      "this" },
    { "learning_rate", REAL, AT(learning_rate), DECIDES, NULL, "highest learning rate" },
    { "lr_scheduler_type", WORD, AT(scheduler), DECIDES, recipe_schedules,
      "how the learning rate changes" },
    { "warmup_steps", COUNT, AT(warmup_steps), DECIDES, NULL,
      "updates until the highest learning rate; below 1: as warmup_ratio" },
    { "warmup_ratio", REAL, AT(warmup_ratio), DECIDES, NULL,
      "the warm-up as a share of all updates, if warmup_steps is 0" },
    { "optim", WORD, AT(optim), 0, recipe_optimisers,
      "each of these means AdamW with f32 moments here; for paging see offload_optimizer" },
    { "weight_decay", REAL, AT(weight_decay), DECIDES, NULL,
      "AdamW's weight decay; norms are not decayed" },
    { "adam_beta1", REAL, AT(beta1), DECIDES, NULL, "AdamW's decay of the first moment" },
    { "adam_beta2", REAL, AT(beta2), DECIDES, NULL, "AdamW's decay of the second moment" },
    { "adam_epsilon", REAL, AT(epsilon), DECIDES, NULL, "AdamW's epsilon" },
    { "max_grad_norm", REAL, AT(max_grad_norm), DECIDES, NULL,
      "gradients are clipped to this norm; 0: no clipping" },
    { "method", WORD, AT(method), DECIDES | OURS, recipe_methods,
      "train adapters, or every weight" },
    { "from_scratch", FLAG, AT(from_scratch), DECIDES | OURS, NULL,
      "begin with random weights for the config.json in model_name_or_path" },
    { "quantization", WORD, AT(quantization), DECIDES | OURS, recipe_quantizations,
      "required quantization of the base; auto: nf4 for adapters, none for full fine-tuning" },
    { "lora_rank", COUNT, AT(lora_rank), DECIDES, NULL, "rank of the adapters" },
    { "lora_alpha", REAL, AT(lora_alpha), DECIDES, NULL, "the adapters' scale is alpha / rank" },
    { "lora_dropout", REAL, AT(lora_dropout), DECIDES, NULL,
      "share of the adapters' input that is dropped" },
    { "target_modules", NAMES, AT(target_modules), DECIDES | OURS, NULL,
      "modules with an adapter: all, which are the linear layers without the head, or a list, "
      "which may also name embed_tokens and lm_head" },
    { "train_embedding", WORD, AT(train_embedding), DECIDES, recipe_embeddings,
      train_embedding_text },
    { "train_norm", FLAG, AT(train_norm), DECIDES, NULL, "train the norms too" },
    { "attention", WORD, AT(attention), DECIDES | OURS, recipe_attentions,
      "shifted short attention, or full" },
    { "group", COUNT, AT(group), DECIDES | OURS, NULL,
      "tokens in a group of s2; 0: max_seq_length / 4" },
    { "document_mask", WORD, AT(document_mask), DECIDES | OURS, recipe_document_masks,
      "no attention between the documents of a sample; auto: yes for best-fit samples" },
    { "rope", TEXT, AT(rope), DECIDES | OURS, NULL,
      "position scaling, if max_seq_length is beyond the base's context; auto: linear if theta is "
      "at most 10000 and at least 33 million tokens times the factor are planned, otherwise yarn; "
      "or " ROPE_KINDS(", ", " or ") "; or one of these with :FACTOR; or none" },
    { "original_context", COUNT, AT(original_context), DECIDES | OURS, NULL,
      "the base's context before interpolation; 0: as in its config.json" },
    { "loss_scale", REAL, AT(loss_scale), DECIDES | OURS, NULL, loss_scale_text },
    { "gradient_checkpointing", AUTO_FLAG, AT(checkpointing), 0, NULL,
      gradient_checkpointing_text },
    { "offload_activations", AUTO_FLAG, AT(offload_activations), OURS, NULL,
      offload_activations_text },
    { "offload_optimizer", AUTO_FLAG, AT(offload_optimizer), OURS, NULL,
      "on a GPU, keep AdamW's moments in host memory; auto: if the run does not fit otherwise" },
    { "chunk_rows", COUNT, AT(chunk_rows), DECIDES | OURS, NULL, chunk_rows_text },
    { "bf16", FLAG, AT(bf16), DECIDES, NULL,
      "compute in bf16 on a GPU; on a CPU that supports it, matrix products in bf16 (--device "
      "cpu-bf16)" },
    { "fp16", FLAG, AT(fp16), DECIDES, NULL,
      "compute in f16 on a GPU, with a loss scale (--device cuda-f16); the CPU computes in f32" },
    { "fp8", FLAG, AT(fp8), DECIDES | LATER, NULL, fp8_text },
    { "deepspeed", IGNORED, 0, 0, NULL, deepspeed_text },
    { "dataloader_num_workers", IGNORED, 0, 0, NULL, "samples are read when they are needed" },
    { "dataloader_pin_memory", IGNORED, 0, 0, NULL, "samples are read when they are needed" },
    { "disable_tqdm", IGNORED, 0, 0, NULL, "see --progress" },
    { "remove_unused_columns", IGNORED, 0, 0, NULL, "samples have no columns" },
    { "report_to", WORDS, AT(report_to), 0, recipe_reports, report_to_text },
    { "logging_dir", TEXT, AT(logging_dir), 0, NULL,
      "directory of the event files; without it output_dir/runs" },
    { "overwrite_output_dir", FLAG, AT(overwrite), 0, NULL, overwrite_output_dir_text },
    { "use_flash_attn", IGNORED, 0, 0, NULL, "the device decides the kernels" },
    { "sft", IGNORED, 0, 0, NULL, "samples mark which tokens are targets" },
};
enum { KEYS = sizeof recipe_keys / sizeof *recipe_keys };
const int recipe_key_count = KEYS;
_Static_assert((int)KEYS <= (int)RECIPE_KEYS_MAX, "room for the origins");

void recipe_defaults(struct recipe *r)
{
    *r = (struct recipe){
        .resume = "none",
        .epochs = 1,
        .batch_size = 1,
        .accumulation = 1,
        .segments = 1,
        .block = 1,
        .seed = 42,
        .logging_steps = 10,
        .save_total_limit = 3,
        .eval_on_start = true,
        .save_strategy = INTERVAL_STEPS,
        .logging_strategy = INTERVAL_STEPS,
        .learning_rate = 2e-4,
        .scheduler = SCHEDULE_CONSTANT_WITH_WARMUP,
        .optim = OPTIM_ADAMW_TORCH,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-8,
        .max_grad_norm = 1,
        .method = METHOD_LORA,
        .lora_rank = 64,
        .lora_alpha = 16,
        .lora_dropout = 0.05,
        .target_modules = "all",
        .rope = "auto",
    };
}

void recipe_release(struct recipe *r)
{
    for (int i = 0; i < r->text_count; i++)
        free((char *)r->texts[i]);
    free(r->texts);
    *r = (struct recipe){ 0 };
}

const char *recipe_keep_text(struct recipe *r, const char *text)
{
    struct fail unused;
    char *copy = buffer_extend(&r->texts, r->text_count, &unused) ? NULL : strdup(text);
    if (copy) r->texts[r->text_count++] = copy;
    return copy;
}

const struct recipe_key *recipe_find_key(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(recipe_keys[i].name, name)) return &recipe_keys[i];
    return NULL;
}

const char **recipe_origin(struct recipe *r, const char *key)
{
    return &r->origins[recipe_find_key(key) - recipe_keys];
}

int recipe_set_origin(struct recipe *r, const struct recipe_key *k, const char *origin)
{
    const char *kept = origin ? recipe_keep_text(r, origin) : NULL;
    if (origin && !kept) return -1;
    for (int i = 0; i < KEYS; i++)
        if (&recipe_keys[i] == k || (recipe_keys[i].kind != IGNORED && recipe_keys[i].at == k->at))
            r->origins[i] = kept;
    return 0;
}

/* ---- names of keys ---- */

/* Short names that people try, and ours. Few of their letters are those of our names. */
static const char *meant_by(const char *name)
{
    static const char *const names[][2] = {
        { "lr", "learning_rate" },
        { "rank", "lora_rank" },
        { "alpha", "lora_alpha" },
        { "dropout", "lora_dropout" },
        { "epochs", "num_train_epochs" },
        { "steps", "max_steps" },
        { "context", "max_seq_length" },
        { "context_length", "max_seq_length" },
        { "model", "model_name_or_path" },
        { "base", "model_name_or_path" },
        { "data", "train_file" },
        { "output", "output_dir" },
        { "dataset", "train_file" },
        { "max_length", "max_seq_length" },
        { "bs", "per_device_train_batch_size" },
        { "batch", "per_device_train_batch_size" },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i][0], name)) return names[i][1];
    return NULL;
}

/* Returns the nearest known key, ours or another program's, or NULL if none is near. */
static const char *nearest_key(const char *name)
{
    const char *names[KEYS + FOREIGN_KEYS_MAX];
    const struct foreign_key *f;
    int count = 0;
    if (strlen(name) >= KEY_NAME) return NULL;
    for (; count < KEYS; count++)
        names[count] = recipe_keys[count].name;
    for (int i = 0; i < FOREIGN_KEYS_MAX && (f = recipe_foreign_at(i)); i++)
        names[count++] = f->name;
    return nearest_word(name, names, count);
}

int recipe_unknown_key(const char *name, struct fail *why)
{
    const char *near = meant_by(name);
    if (!near) near = nearest_key(name);
    const struct foreign_key *f = near && !recipe_find_key(near) ? recipe_foreign_find(near) : NULL;
    char says[FOREIGN_TEXT];
    if (f)
        return fail_usage(why, "unknown key '%.60s': did you mean %s (%s)?", name, near,
                          f->ours ? f->ours : recipe_foreign_says(f, says));
    if (near) return fail_usage(why, "unknown key '%.60s': did you mean %s?", name, near);
    return fail_usage(why, "unknown key '%.60s': --list-keys prints all keys", name);
}

int recipe_explain_key(const char *name, const char *value, struct fail *why)
{
    const struct foreign_key *f = recipe_find_key(name) ? NULL : recipe_foreign_find(name);
    char says[FOREIGN_TEXT];
    if (f && f->kind != SAME_AS)
        return fail_usage(why, "is a key of %s: %s", f->programs, recipe_foreign_says(f, says));
    const char *meant = f || recipe_find_key(name) ? name : meant_by(name);
    const char *ours = f && !f->values ? f->ours : meant;
    return fail_usage(why, "is a key of recipes: write %s=%s", ours, value);
}

bool recipe_knows_key(const char *name)
{
    return recipe_find_key(name) || recipe_foreign_find(name) || meant_by(name);
}

/* ---- the command line ---- */

/* True if the text has YAML's quotes around it. A quoted text stays a text, even if it would have
 * another meaning without quotes, as null does. */
static bool is_quoted(const char *text)
{
    size_t length = strlen(text);
    return length > 1 && (*text == '"' || *text == '\'') && text[length - 1] == *text;
}

/* Sets a text. The shell has already expanded a path, so the path is taken literally, except for
 * null and quotes. */
static int override_text(struct recipe *r, const struct recipe_key *k, const char *text,
                         void (*ignored)(const char *, const char *), struct fail *why)
{
    struct recipe_value v = { .text = text };
    yaml_document_t document;
    char list[RECIPE_LIST];
    struct fail odd;
    if (!is_quoted(text) || recipe_parse_value(k->name, text, &v, list, &document, &odd))
        return recipe_set(r, k, &v, "command line", ignored, why);
    int status = recipe_set(r, k, &v, "command line", ignored, why);
    yaml_document_delete(&document);
    return status;
}

static int override_value(struct recipe *r, const char *name, const char *text,
                          void (*ignored)(const char *, const char *), struct fail *why)
{
    const struct recipe_key *k = recipe_find_key(name);
    const struct foreign_key *f = k ? NULL : recipe_foreign_find(name);
    struct recipe_value v;
    yaml_document_t document;
    char list[RECIPE_LIST];
    if (!k && !f) return recipe_unknown_key(name, why);
    const struct recipe_key *target = k ? k : f->kind == SAME_AS ? recipe_find_key(f->ours) : NULL;
    bool is_list = text[0] == '[' && text[strlen(text) - 1] == ']';
    bool is_path = target && (target->kind == TEXT || (target->kind == PATHS && !is_list));
    if (is_path && (k || !f->values)) return override_text(r, target, text, ignored, why);
    if (*text != '{' && (k ? k->kind == IGNORED : f->kind == HARMLESS)) {
        char says[FOREIGN_TEXT];
        if (!k) recipe_foreign_remember(r, f);
        if (*text) ignored(name, k ? k->meaning : recipe_foreign_says(f, says));
        return 0;
    }
    if (recipe_parse_value(name, text, &v, list, &document, why)) return -1;
    int status = k ? recipe_set(r, k, &v, "command line", ignored, why)
                   : recipe_foreign_set(r, f, &v, "command line", ignored, why);
    yaml_document_delete(&document);
    return status;
}

int recipe_override(struct recipe *r, const char *assignment,
                    void (*ignored)(const char *, const char *), struct fail *why)
{
    const char *equals = strchr(assignment, '=');
    char name[KEY_NAME];
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof name)
        return fail_usage(why, "'%.60s' is not KEY=VALUE", assignment);
    snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    return override_value(r, name, equals + 1, ignored, why);
}

/* ---- checks of the values ---- */

static bool is_at_intervals(enum interval i) { return i == INTERVAL_STEPS || i == INTERVAL_EPOCH; }

/* True if the recipe asks for evaluations before the last step. */
static bool evaluates(const struct recipe *r)
{
    return is_at_intervals(r->eval_strategy) ||
           (r->eval_strategy == INTERVAL_AUTO && r->eval_steps > 0);
}

static int check_strategies(const struct recipe *r, struct fail *why)
{
    bool seeks = r->load_best || r->metric || r->patience;
    if (r->logging_strategy == INTERVAL_STEPS && !(r->logging_steps > 0))
        return fail_usage(why, "logging_steps must be above 0, or logging_strategy: no");
    if (!r->eval_file && is_at_intervals(r->eval_strategy))
        return fail_usage(why, "eval_strategy: %s needs eval_file",
                          recipe_eval_intervals[r->eval_strategy]);
    if (seeks && (!r->eval_file || !evaluates(r)))
        return fail_usage(why, "%s needs eval_file and eval_steps, or eval_strategy: epoch",
                          r->load_best  ? "load_best_model_at_end"
                          : r->patience ? "early_stopping_patience"
                                        : "metric_for_best_model");
    if (r->save_strategy == INTERVAL_BEST && !seeks)
        return fail_usage(why, "save_strategy: best needs metric_for_best_model");
    return 0;
}

/* Fails if keys that have no default are missing. The message names all of them. */
static int check_needed(const struct recipe *r, bool plan_only, struct fail *why)
{
    const struct {
        const char *name;
        bool is_missing;
    } needed[] = { { "output_dir", !r->output_dir && !plan_only },
                   { "model_name_or_path", !r->model },
                   { "train_file", !r->train_file && !plan_only } };
    char names[64] = "";
    int count = 0;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (!needed[i].is_missing) continue;
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", count++ ? ", " : "",
                 needed[i].name);
    }
    if (count)
        return fail_usage(
            why, "%s %s missing: write KEY=VALUE behind the recipe, or a line KEY: VALUE in it",
            names, count > 1 ? "are" : "is");
    if (!r->train_file && !r->context)
        return fail_usage(why, "a plan needs train_file or max_seq_length");
    return 0;
}

int recipe_check(const struct recipe *r, bool plan_only, struct fail *why)
{
    if (check_needed(r, plan_only, why)) return -1;
    if (recipe_check_ranges(r, why)) return -1;
    if (!r->batch_size || !r->accumulation)
        return fail_usage(why, "per_device_train_batch_size and gradient_accumulation_steps must "
                               "be at least 1");
    if (!r->segments) return fail_usage(why, "context_segments must be at least 1");
    if (r->segments > 1 && r->batch_size > 1)
        return fail_usage(why,
                          "context_segments: %lld needs per_device_train_batch_size: 1, because it "
                          "cuts a single sample",
                          (long long)r->segments);
    if (r->exchange == CONTEXT_EXCHANGE_GROUPS && r->attention != ATTENTION_S2)
        return fail_usage(why, "context_exchange: groups needs attention: s2");
    if (r->segments > 1 && r->block > 1)
        return fail_usage(why, "context_segments and gradient_block exclude each other");
    if (!r->block) return fail_usage(why, "gradient_block must be at least 1");
    if (r->block > r->accumulation)
        return fail_usage(why,
                          "gradient_block is %lld, and an update has %lld batches: at most as many "
                          "as gradient_accumulation_steps",
                          (long long)r->block, (long long)r->accumulation);
    if (!r->max_steps && !(r->epochs > 0))
        return fail_usage(
            why, "num_train_epochs: 0 trains nothing: choose a larger number, or set max_steps");
    for (int i = 0; i < RECIPE_LORA_NUMBERS && r->method == METHOD_LORA; i++)
        if (r->empty_lora[i] && !recipe_is_given(r, recipe_lora_keys[i]))
            return fail_usage(why, "%s: %s has no value: write one, or leave the key out",
                              r->empty_lora[i], recipe_lora_keys[i]);
    if (r->lora_dropout >= 1) return fail_usage(why, "lora_dropout must be below 1");
    if (r->method == METHOD_LORA && !r->lora_rank)
        return fail_usage(why, "lora_rank must be at least 1");
    if (r->from_scratch && r->method != METHOD_FULL)
        return fail_usage(why, "from_scratch: true needs method: full");
    if (r->adapter && r->method != METHOD_LORA)
        return fail_usage(why, "adapter_name_or_path needs method: lora");
    if (r->lora_alpha < 0 && !r->adapter)
        return fail_usage(why, "lora_alpha: %g is negative: choose a number above 0",
                          r->lora_alpha);
    if (r->method == METHOD_LORA && !r->adapter && !(r->lora_alpha > 0))
        return fail_usage(
            why, "lora_alpha: 0 makes adapters that change nothing: choose a larger number");
    if (r->bf16 && r->fp16) return fail_usage(why, "bf16 and fp16 exclude each other");
    if (r->fp8 && r->method == METHOD_FULL)
        return fail_usage(why, "fp8: true multiplies by frozen weights, and method: full trains "
                               "them all: set fp8: false");
    if (r->fp8 && r->fp16)
        return fail_usage(why, "fp8 and fp16 exclude each other: write bf16: true");
    if (check_strategies(r, why)) return -1;
    if (r->loss_scale && log2(r->loss_scale) != floor(log2(r->loss_scale)))
        return fail_usage(why, "loss_scale must be a power of two, so that it rounds nothing");
    if (r->beta1 >= 1 || r->beta2 >= 1)
        return fail_usage(why, "adam_beta1 and adam_beta2 must be below 1");
    return 0;
}
