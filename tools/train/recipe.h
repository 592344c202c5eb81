/* recipe.h - what a training run is: one table of keys, read from YAML and from
 * KEY=VALUE words of the command line.
 *
 * Keys are those of the original LongQLoRA recipes (Hugging Face's TrainingArguments);
 * those that only exist here are marked in the table of docs/recipe.md, which
 * `train --list-keys` prints.
 */
#ifndef LONGQLORA_RECIPE_H
#define LONGQLORA_RECIPE_H

#include "lib/llama/adapter.h"
#include "model/batch.h"
#include "model/optimiser.h"

enum {
    RECIPE_KEYS_MAX = 80,
    /* of a file, and of a value of the command line: libyaml's time grows with the square of each
     */
    RECIPE_BYTES_MAX = 64 << 10,
    RECIPE_VALUE_MAX = 4 << 10,
    RECIPE_DEPTH_MAX = 8,
    RECIPE_VALUES_MAX = 1024,
    /* of its numbers: a product of any of them, and of sizes of a model, fits in 63 bits */
    RECIPE_STEPS_MAX = 1000000000,
    RECIPE_SAMPLES_MAX = 1 << 16,
    RECIPE_CONTEXT_MAX = 1 << 28,
    RECIPE_RANK_MAX = 1 << 16,
    RECIPE_EPOCHS_MAX = 1000000,
};

enum toggle { TOGGLE_AUTO, TOGGLE_NO, TOGGLE_YES };

struct recipe {
    /* where things are */
    const char *output_dir, *model, *adapter, *train_file, *eval_file, *tokenizer, *resume,
        *logging_dir;
    bool overwrite;
    /* the run */
    double epochs;
    int64_t max_steps, batch_size, accumulation, context, seed;
    int64_t save_total_limit;
    /* a count of updates, or a share below 1 of all: see due.h */
    double logging_steps, save_steps, eval_steps, eval_delay;
    const char *save_strategy, *eval_strategy, *logging_strategy, *report_to;
    bool log_first;
    /* the best model */
    bool load_best;
    const char *metric; /* NULL: not said */
    enum toggle greater;
    int64_t patience; /* 0: does not stop early */
    double threshold;
    /* the optimiser */
    double learning_rate, warmup_ratio, weight_decay, max_grad_norm, beta1, beta2, epsilon;
    int64_t warmup_steps;
    const char *scheduler, *optim;
    /* what is trained */
    int64_t lora_rank;
    double lora_alpha, lora_dropout;
    const char *target_modules;  /* comma-separated; "all" */
    const char *train_embedding; /* "false"; "true": with the head; "embedding": alone */
    bool train_norm, from_scratch;
    const char *method, *quantization;
    /* how */
    const char *attention, *document_mask, *rope;
    int64_t group, original_context, chunk_rows;
    enum toggle checkpointing, offload_activations, offload_optimizer;
    bool bf16, fp16;
    double loss_scale;
    const char *origins[RECIPE_KEYS_MAX]; /* of the values: "FILE:LINE", "command line", NULL */
    const char **texts;                   /* owns what the pointers above point to */
    int text_count;
};

void recipe_defaults(struct recipe *r);
void recipe_release(struct recipe *r);
/* Unknown, duplicate or mistyped keys fail with line and column and the nearest known
 * key. Keys of Hugging Face's Trainer, PEFT, Axolotl and LLaMA-Factory are understood where they
 * mean the same, else answered; docs/recipe-keys.md lists them. ignored: called for keys that are
 * accepted but cannot apply here, with the reason. */
int recipe_read(struct recipe *r, const char *path,
                void (*ignored)(const char *key, const char *why), struct fail *why) MUST_USE;
/* KEY=VALUE, the value as in a file; a path is as it stands, but for null and quotes. */
int recipe_override(struct recipe *r, const char *assignment,
                    void (*ignored)(const char *key, const char *why), struct fail *why) MUST_USE;
/* Are the values possible, alone and together? plan_only: no samples and no output needed. */
int recipe_check(const struct recipe *r, bool plan_only, struct fail *why) MUST_USE;
/* Calls warn for each value that somebody said and that does nothing beside the others. */
void recipe_find_idle(const struct recipe *r, void (*warn)(const char *text));

/* Of target_modules. */
int recipe_targets(const struct recipe *r, uint32_t *parts, struct fail *why) MUST_USE;
/* Bits of the parts that train_embedding and train_norm name. */
uint32_t recipe_modules_to_save(const struct recipe *r);
/* An adapter that is trained further has the say in its rank, alpha, targets and what it has of
 * embedding and norms; fails if the recipe says other ones. */
int recipe_take_adapter(struct recipe *r, const struct adapter *a, struct fail *why) MUST_USE;

/* Is it a key of recipes, here or elsewhere? */
bool recipe_knows_key(const char *name);
/* What to do with a key that was written as an option, as what follows its name; fails always. */
int recipe_explain_key(const char *name, const char *value, struct fail *why) MUST_USE;
/* Every effective value as "key: value # where it comes from", for --print-config. What is printed
 * reads back as the very same recipe; fails if a text cannot be written as YAML. */
int recipe_print(const struct recipe *r, FILE *to, struct fail *why) MUST_USE;
/* The keys as a Markdown table, and after an empty line those of other programs as another. */
void recipe_list_keys(FILE *to);
/* The keys as the shell's completion reads them (lib/cli/opt.h): "key= ARGUMENT word|word". */
void recipe_list_completions(FILE *to);
/* The effective values that decide the result, for longqlora.json and the digest. */
json_t *recipe_to_json(const struct recipe *r);

#endif
