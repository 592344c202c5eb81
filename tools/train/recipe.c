#include "recipe_inside.h"

#include "../../lib/common/file.h"
#include "../../lib/common/opt.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <yaml.h>

#define AT(field) offsetof(struct recipe, field)
/* clang-format off */
const struct recipe_key recipe_keys[] = {
    { "output_dir", TEXT, AT(output_dir), false, false, "where checkpoints and the result go", 0 },
    { "model_name_or_path", TEXT, AT(model), false, false, "model directory, weights stream, or (from_scratch) config.json", 0 },
    { "adapter_name_or_path", TEXT, AT(adapter), false, true, "adapter to train further: where the values begin, and rank, alpha and targets", 0 },
    { "train_file", TEXT, AT(train_file), false, false, "stream of samples; - is standard input, spooled to output_dir", 0 },
    { "tokenizer", TEXT, AT(tokenizer), false, true, "directory whose tokenizer files go with a new model", 0 },
    { "resume_from_checkpoint", TEXT, AT(resume), false, false, "auto: the newest of this run that is whole; none: from step 0, unless a finished run gets more steps; or a checkpoint-N", 0 },
    { "num_train_epochs", REAL, AT(epochs), true, false, "passes over the samples, if max_steps is 0", 0 },
    { "max_steps", COUNT, AT(max_steps), true, false, "updates; 0: as the epochs give", 0 },
    { "per_device_train_batch_size", COUNT, AT(batch_size), true, false, "samples computed at once", 0 },
    { "gradient_accumulation_steps", COUNT, AT(accumulation), true, false, "batches of one update", 0 },
    { "max_seq_length", COUNT, AT(context), true, false, "tokens of a sample; 0: as the samples say", 0 },
    { "model_max_length", COUNT, AT(context), true, false, "the same, as the original's second name", 0 },
    { "seed", COUNT, AT(seed), true, false, "of order, initial values and dropout", 0 },
    { "logging_steps", COUNT, AT(logging_steps), false, false, "updates between log lines", 0 },
    { "save_steps", COUNT, AT(save_steps), false, false, "updates between checkpoints; 0: one of the last step only", 0 },
    { "save_total_limit", COUNT, AT(save_total_limit), false, false, "whole checkpoints of this run kept, the newest ones; 0: all", 0 },
    { "save_strategy", WORD, AT(save_strategy), false, false, "steps: as save_steps says, and after the last step, from where more steps go on; no: only when a signal stops the run", "steps|no" },
    { "eval_file", TEXT, AT(eval_file), false, false, "stream of samples to measure the model on, without dropout", 0 },
    { "eval_steps", COUNT, AT(eval_steps), false, false, "updates between evaluations; 0: after the last one only", 0 },
    { "load_best_model_at_end", FLAG, AT(load_best), false, false, "the result is the best model that an evaluation found; it stands in output_dir/best", 0 },
    { "metric_for_best_model", WORD, AT(metric), false, false, "what is best, and kept in output_dir/best; loss if load_best_model_at_end or early_stopping_patience is said", "loss|eval_loss" },
    { "greater_is_better", AUTO_FLAG, AT(greater), false, false, "of that metric; auto: no, of a loss", 0 },
    { "early_stopping_patience", COUNT, AT(patience), false, false, "ends the run after so many evaluations in a row without a better one; 0: never", 0 },
    { "early_stopping_threshold", REAL, AT(threshold), false, false, "what an evaluation must be better by, not to count as one without", 0 },
    { "learning_rate", REAL, AT(learning_rate), true, false, "highest rate", 0 },
    { "lr_scheduler_type", WORD, AT(scheduler), true, false, "course of the rate", "constant|constant_with_warmup|linear|cosine" },
    { "warmup_steps", COUNT, AT(warmup_steps), true, false, "updates until the highest rate", 0 },
    { "warmup_ratio", REAL, AT(warmup_ratio), true, false, "the same as a share of all updates, if warmup_steps is 0", 0 },
    { "optim", WORD, AT(optim), false, false, "all of them are AdamW with f32 moments here; paged: see offload_optimizer", "paged_adamw_32bit|adamw_torch|adamw_hf|adamw_bnb_32bit|adamw_torch_fused" },
    { "weight_decay", REAL, AT(weight_decay), true, false, "AdamW's, not on norms", 0 },
    { "adam_beta1", REAL, AT(beta1), true, false, "AdamW's first moment", 0 },
    { "adam_beta2", REAL, AT(beta2), true, false, "AdamW's second moment", 0 },
    { "adam_epsilon", REAL, AT(epsilon), true, false, "AdamW's epsilon", 0 },
    { "max_grad_norm", REAL, AT(max_grad_norm), true, false, "gradients are clipped to this norm; 0: not", 0 },
    { "method", WORD, AT(method), true, true, "adapters, or every weight", "lora|full" },
    { "from_scratch", FLAG, AT(from_scratch), true, true, "begin with random weights of model_name_or_path's config", 0 },
    { "quantization", WORD, AT(quantization), true, true, "what the base must be; auto: nf4 for adapters, none for full fine-tuning", "auto|any|nf4|none" },
    { "lora_rank", COUNT, AT(lora_rank), true, false, "rank of the adapters", 0 },
    { "lora_alpha", REAL, AT(lora_alpha), true, false, "their scale is alpha / rank", 0 },
    { "lora_dropout", REAL, AT(lora_dropout), true, false, "share of the adapters' input left out", 0 },
    { "target_modules", NAMES, AT(target_modules), true, true, "linears with an adapter: all, or a list", 0 },
    { "train_embedding", WORD, AT(train_embedding), true, false, "true: train embedding and head too, as LongQLoRA does; embedding: the embedding alone, as LongLoRA", "false|true|embedding" },
    { "train_norm", FLAG, AT(train_norm), true, false, "train the norms too", 0 },
    { "attention", WORD, AT(attention), true, true, "shifted short attention, or full", "s2|full" },
    { "group", COUNT, AT(group), true, true, "tokens of an s2 group; 0: max_seq_length / 4", 0 },
    { "document_mask", WORD, AT(document_mask), true, true, "keep documents of a sample apart; auto: for best-fit samples", "auto|yes|no" },
    { "rope", TEXT, AT(rope), true, true, "auto: interpolate to max_seq_length; none; linear, ntk, dynamic or yarn with :FACTOR", 0 },
    { "original_context", COUNT, AT(original_context), true, true, "the base's context before interpolation; 0: as its config says", 0 },
    { "loss_scale", REAL, AT(loss_scale), true, true, "first factor of the loss, halved when gradients overflow, doubled after 2000 good updates; 0: 65536 in f16, none else", 0 },
    { "gradient_checkpointing", AUTO_FLAG, AT(checkpointing), false, false, "compute layers again in the backward instead of keeping their activations; auto: those that the memory has no room for", 0 },
    { "offload_activations", AUTO_FLAG, AT(offload_activations), false, true, "on a GPU layers' inputs, and attention's outputs if there is room, wait for the backward in the host's memory; auto: if the run fits no other way", 0 },
    { "offload_optimizer", AUTO_FLAG, AT(offload_optimizer), false, true, "the same for AdamW's moments", 0 },
    { "chunk_rows", COUNT, AT(chunk_rows), true, true, "rows that pass through a layer at once, but for attention; 0: 4096 on a GPU, 512 on a CPU", 0 },
    { "bf16", FLAG, AT(bf16), true, false, "compute in bf16: on a GPU, and the products on a CPU that has them (--device cpu-bf16)", 0 },
    { "fp16", FLAG, AT(fp16), true, false, "compute in f16 on a GPU, with a loss scale (--device cuda-f16); the CPU computes in f32", 0 },
    { "deepspeed", IGNORED, 0, false, false, "one device needs none", 0 },
    { "dataloader_num_workers", IGNORED, 0, false, false, "samples are read where they are needed", 0 },
    { "dataloader_pin_memory", IGNORED, 0, false, false, "as above", 0 },
    { "disable_tqdm", IGNORED, 0, false, false, "see --progress", 0 },
    { "remove_unused_columns", IGNORED, 0, false, false, "samples have no columns", 0 },
    { "report_to", WORD, AT(report_to), false, false, "tensorboard: event files in logging_dir beside trainer_log.jsonl", "none|tensorboard" },
    { "logging_dir", TEXT, AT(logging_dir), false, false, "where event files go; output_dir/runs if not given", 0 },
    { "logging_strategy", IGNORED, 0, false, false, "see logging_steps", 0 },
    { "overwrite_output_dir", FLAG, AT(overwrite), false, false, "from step 0, and all that a run made in output_dir is removed first; what it did not make stays", 0 },
    { "use_flash_attn", IGNORED, 0, false, false, "there is one attention kernel", 0 },
    { "sft", IGNORED, 0, false, false, "samples say which tokens are targets", 0 },
};
/* clang-format on */
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
        .seed = 42,
        .logging_steps = 10,
        .save_total_limit = 3,
        .save_strategy = "steps",
        .report_to = "none",
        .learning_rate = 2e-4,
        .scheduler = "constant_with_warmup",
        .optim = "adamw_torch",
        .beta1 = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-8,
        .max_grad_norm = 1,
        .method = "lora",
        .quantization = "auto",
        .lora_rank = 64,
        .lora_alpha = 16,
        .lora_dropout = 0.05,
        .target_modules = "all",
        .train_embedding = "false",
        .attention = "s2",
        .document_mask = "auto",
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
    const char **grown = realloc(r->texts, (size_t)(r->text_count + 1) * sizeof *grown);
    if (grown) r->texts = grown;
    char *copy = grown ? strdup(text) : NULL;
    if (copy) r->texts[r->text_count++] = copy;
    return copy;
}

static const struct recipe_key *find_key(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (!strcmp(recipe_keys[i].name, name)) return &recipe_keys[i];
    return NULL;
}

bool recipe_has_key(const char *name) { return find_key(name) != NULL; }

const char **recipe_origin(struct recipe *r, const char *key)
{
    return &r->origins[find_key(key) - recipe_keys];
}

static int unknown_key(const char *name, struct fail *why)
{
    const char *names[KEYS];
    for (int i = 0; i < KEYS; i++)
        names[i] = recipe_keys[i].name;
    const char *near = opt_nearest(name, names, KEYS);
    return near ? fail_usage(why, "unknown key '%.60s': did you mean %s?", name, near)
                : fail_usage(why, "unknown key '%.60s'", name);
}

static int parse_flag(const char *text, bool *value)
{
    static const char *const yes[] = { "true", "True", "yes", "on" };
    static const char *const no[] = { "false", "False", "no", "off" };
    for (int i = 0; i < 4; i++) {
        if (!strcmp(text, yes[i]))
            *value = true;
        else if (!strcmp(text, no[i]))
            *value = false;
        else
            continue;
        return 0;
    }
    return -1;
}

/* A text that is empty was not said. */
static int set_default(struct recipe *r, const struct recipe_key *k)
{
    struct recipe none;
    recipe_defaults(&none);
    *(const char **)((char *)r + k->at) = *(const char **)((char *)&none + k->at);
    r->origins[k - recipe_keys] = NULL;
    return 0;
}

/* Is the default of the word none of them? */
static bool is_unsaid(const struct recipe_key *k)
{
    struct recipe none;
    recipe_defaults(&none);
    return !*(const char **)((char *)&none + k->at);
}

/* origin: where the value comes from, for recipe_print. */
static int set_value(struct recipe *r, const struct recipe_key *k, const char *text,
                     const char *origin, void (*ignored)(const char *), struct fail *why)
{
    void *at = (char *)r + k->at;
    char *end;
    errno = 0;
    if (!(r->origins[k - recipe_keys] = recipe_keep_text(r, origin)))
        return fail(why, "out of memory");
    switch (k->kind) {
    case IGNORED:
        ignored(k->name);
        return 0;
    case COUNT: {
        long long n = strtoll(text, &end, 10);
        if (end == text || *end || errno || n < 0)
            return fail_usage(why, "%s: '%.60s' is not a count", k->name, text);
        *(int64_t *)at = n;
        return 0;
    }
    case REAL: {
        double x = strtod(text, &end);
        if (end == text || *end || !isfinite(x) || x < 0)
            return fail_usage(why, "%s: '%.60s' is not a number of at least 0", k->name, text);
        *(double *)at = x;
        return 0;
    }
    case FLAG:
        if (parse_flag(text, at))
            return fail_usage(why, "%s: '%.60s' is not true or false", k->name, text);
        return 0;
    case AUTO_FLAG: {
        bool is_yes = false;
        bool is_auto = !strcmp(text, "auto");
        if (!is_auto && parse_flag(text, &is_yes))
            return fail_usage(why, "%s: '%.60s' is not auto, true or false", k->name, text);
        *(enum toggle *)at = is_auto ? TOGGLE_AUTO : is_yes ? TOGGLE_YES : TOGGLE_NO;
        return 0;
    }
    case WORD:
        if (!*text && is_unsaid(k)) return set_default(r, k);
        if (!opt_word_in(k->words, text))
            return fail_usage(why, "%s: '%.60s' is not one of %s", k->name, text, k->words);
        /* fall through */
    default:
        if (!*text && k->kind == TEXT) return set_default(r, k);
        *(const char **)at = recipe_keep_text(r, text);
        return *(const char **)at ? 0 : fail(why, "out of memory");
    }
}

/* ---- YAML: one flat mapping ---- */

struct place {
    const char *path;
    size_t line, column;
};

static int blame(const struct place *p, struct fail *why)
{
    char text[300];
    snprintf(text, sizeof text, "%.240s:%zu:%zu", p->path, p->line, p->column);
    return fail_in(why, text);
}

static struct place place_of(const char *path, yaml_mark_t mark)
{
    return (struct place){ path, mark.line + 1, mark.column + 1 };
}

/* A list of plain words as one text, "a,b,c". */
static int join_list(yaml_document_t *doc, yaml_node_t *node, char *text, size_t size,
                     struct fail *why)
{
    size_t used = 0;
    text[0] = 0;
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top;
         i++) {
        yaml_node_t *item = yaml_document_get_node(doc, *i);
        if (!item || item->type != YAML_SCALAR_NODE)
            return fail_usage(why, "a list of plain words is needed");
        int n = snprintf(text + used, size - used, "%s%s", used ? "," : "",
                         (const char *)item->data.scalar.value);
        if (n < 0 || (size_t)n >= size - used) return fail_usage(why, "the list is too long");
        used += (size_t)n;
    }
    return 0;
}

static int take_pair(struct recipe *r, yaml_document_t *doc, yaml_node_pair_t *pair, bool *seen,
                     const char *path, void (*ignored)(const char *), struct fail *why)
{
    yaml_node_t *name = yaml_document_get_node(doc, pair->key);
    yaml_node_t *value = yaml_document_get_node(doc, pair->value);
    struct place here = place_of(path, name->start_mark);
    char list[1024];
    if (name->type != YAML_SCALAR_NODE) {
        fail_usage(why, "a key is not a word");
        return blame(&here, why);
    }
    const struct recipe_key *k = find_key((const char *)name->data.scalar.value);
    if (!k) {
        unknown_key((const char *)name->data.scalar.value, why);
        return blame(&here, why);
    }
    if (seen[k - recipe_keys]) {
        fail_usage(why, "key '%s' stands twice", k->name);
        return blame(&here, why);
    }
    seen[k - recipe_keys] = true;
    const char *text = NULL;
    char origin[300];
    here = place_of(path, value->start_mark);
    snprintf(origin, sizeof origin, "%.240s:%zu", path, here.line);
    if (k->kind == IGNORED) return set_value(r, k, "", origin, ignored, why);
    if (value->type == YAML_SCALAR_NODE)
        text = (const char *)value->data.scalar.value;
    else if (value->type == YAML_SEQUENCE_NODE && k->kind == NAMES) {
        if (join_list(doc, value, list, sizeof list, why)) return blame(&here, why);
        text = list;
    } else
        fail_usage(why, "%s: one plain value is needed", k->name);
    if (!text || set_value(r, k, text, origin, ignored, why)) return blame(&here, why);
    return 0;
}

static int take_document(struct recipe *r, yaml_document_t *doc, const char *path,
                         void (*ignored)(const char *), struct fail *why)
{
    bool seen[KEYS] = { false };
    yaml_node_t *root = yaml_document_get_root_node(doc);
    if (!root) return 0;
    if (root->type != YAML_MAPPING_NODE)
        return fail_usage(why, "%s: not a list of 'key: value' lines", path);
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++)
        if (take_pair(r, doc, p, seen, path, ignored, why)) return -1;
    return 0;
}

int recipe_read(struct recipe *r, const char *path, void (*ignored)(const char *), struct fail *why)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    char *text;
    size_t bytes;
    if (recipe_load_text(path, &text, &bytes, why)) return -1;
    if (!yaml_parser_initialize(&parser)) {
        free(text);
        return fail(why, "%s: out of memory", path);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    int status, is_loaded = yaml_parser_load(&parser, &doc);
    if (!is_loaded && parser.error == YAML_MEMORY_ERROR) {
        status = fail(why, "%s: out of memory", path);
    } else if (!is_loaded) {
        status = fail_usage(why, "%s:%zu:%zu: %s", path, parser.problem_mark.line + 1,
                            parser.problem_mark.column + 1,
                            parser.problem ? parser.problem : "not YAML");
    } else {
        status = take_document(r, &doc, path, ignored, why);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    free(text);
    return status;
}

int recipe_override(struct recipe *r, const char *assignment, void (*ignored)(const char *),
                    struct fail *why)
{
    const char *equals = strchr(assignment, '=');
    char name[64];
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof name)
        return fail_usage(why, "'%.60s' is not KEY=VALUE", assignment);
    snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    const struct recipe_key *k = find_key(name);
    return k ? set_value(r, k, equals + 1, "command line", ignored, why) : unknown_key(name, why);
}

int recipe_check(const struct recipe *r, bool plan_only, struct fail *why)
{
    if (!r->output_dir && !plan_only) return fail_usage(why, "output_dir is missing");
    if (!r->model) return fail_usage(why, "model_name_or_path is missing");
    if (!r->train_file && !(plan_only && r->context))
        return fail_usage(why, plan_only ? "a plan needs train_file or max_seq_length"
                                         : "train_file is missing");
    if (recipe_check_ranges(r, why)) return -1;
    if (!r->batch_size || !r->accumulation || !r->logging_steps)
        return fail_usage(why, "per_device_train_batch_size, gradient_accumulation_steps and "
                               "logging_steps must be at least 1");
    if (r->lora_dropout >= 1) return fail_usage(why, "lora_dropout must be below 1");
    if (!strcmp(r->method, "lora") && !r->lora_rank)
        return fail_usage(why, "lora_rank must be at least 1");
    if (r->from_scratch && strcmp(r->method, "full") != 0)
        return fail_usage(why, "from_scratch: true needs method: full");
    if (r->adapter && strcmp(r->method, "lora") != 0)
        return fail_usage(why, "adapter_name_or_path needs method: lora");
    if ((r->load_best || r->metric || r->patience) && (!r->eval_file || !r->eval_steps))
        return fail_usage(why, "%s needs eval_file and eval_steps",
                          r->load_best  ? "load_best_model_at_end"
                          : r->patience ? "early_stopping_patience"
                                        : "metric_for_best_model");
    if (r->loss_scale && log2(r->loss_scale) != floor(log2(r->loss_scale)))
        return fail_usage(why, "loss_scale must be a power of two, so that it rounds nothing");
    if (r->beta1 >= 1 || r->beta2 >= 1) return fail_usage(why, "adam_beta1 and 2 must be below 1");
    return 0;
}
