/* recipe.h - the recipe of a training run: one table of keys, read from YAML and from KEY=VALUE
 * arguments.
 *
 * The keys are those of the original LongQLoRA recipes (Hugging Face's TrainingArguments). Keys
 * that exist only here are marked in the table of docs/recipe.md, which `train --list-keys` prints.
 */
#ifndef LONGQLORA_RECIPE_H
#define LONGQLORA_RECIPE_H

#include "lib/llama/adapter.h"
#include "model/batch.h"
#include "model/optimiser.h"

enum {
    RECIPE_KEYS_MAX = 80,
    RECIPE_FOREIGN_MAX = 512, /* keys of other programs */
    RECIPE_LORA_NUMBERS = 3,  /* lora_rank, lora_alpha and lora_dropout */
    /* Limits of the YAML: the bytes of a file, the bytes of a value on the command line, the depth
     * of nesting, and the number of keys and values. Without the first two libyaml could take very
     * long, because its time grows with the square of the length. */
    RECIPE_BYTES_MAX = 64 << 10,
    RECIPE_VALUE_MAX = 4 << 10,
    RECIPE_DEPTH_MAX = 8,
    RECIPE_VALUES_MAX = 1024,
    /* Limits of the numbers, so that products of these and of a model's sizes fit in 63 bits. */
    RECIPE_STEPS_MAX = 1000000000,
    RECIPE_SAMPLES_MAX = 1 << 16,
    RECIPE_CONTEXT_MAX = 1 << 28,
    RECIPE_SEGMENTS_MAX = 1024,
    RECIPE_RANK_MAX = 1 << 16,
    RECIPE_EPOCHS_MAX = 1000000,
};

enum toggle { TOGGLE_AUTO, TOGGLE_YES, TOGGLE_NO };
/* How often a run logs, saves or evaluates: transformers' IntervalStrategy, and also AUTO and
 * BEST. */
enum interval { INTERVAL_AUTO, INTERVAL_STEPS, INTERVAL_EPOCH, INTERVAL_BEST, INTERVAL_NO };
/* The number that decides which model is best. METRIC_NONE: the recipe names none. */
enum metric { METRIC_NONE, METRIC_LOSS, METRIC_EVAL_LOSS };
/* The values that `optim` may have. All of them mean AdamW with f32 moments here. */
enum optim {
    OPTIM_PAGED_ADAMW_32BIT,
    OPTIM_ADAMW_TORCH,
    OPTIM_ADAMW_BNB_32BIT,
    OPTIM_ADAMW_TORCH_FUSED
};
/* How the base must be quantized. */
enum quantization { QUANTIZATION_AUTO, QUANTIZATION_ANY, QUANTIZATION_NF4, QUANTIZATION_NONE };
/* Which of embedding and head are trained. */
enum embedding { EMBEDDING_FROZEN, EMBEDDING_AND_HEAD, EMBEDDING_ALONE };
enum attention_kind { ATTENTION_S2, ATTENTION_FULL };
/* How the ranks of a sample exchange what attention needs (context_exchange). */
enum context_exchange { CONTEXT_EXCHANGE_AUTO, CONTEXT_EXCHANGE_HEADS, CONTEXT_EXCHANGE_GROUPS };
enum report { REPORT_NONE, REPORT_TENSORBOARD, REPORT_ALL };
/* What resume_from_checkpoint names. NONE: no checkpoint. AUTO: the newest one; if there is none,
 * the run begins at step 0. NEWEST: the newest one, which must exist. NAMED: a path. */
enum resume { RESUME_NONE, RESUME_AUTO, RESUME_NEWEST, RESUME_NAMED };

struct recipe {
    /* paths */
    const char *output_dir, *model, *adapter, *train_file, *eval_file, *tokenizer, *resume,
        *logging_dir;
    bool overwrite;
    /* length and order of the run */
    double epochs;
    int64_t max_steps, batch_size, accumulation, block, context, segments, seed;
    enum context_exchange exchange;
    int64_t save_total_limit;
    /* counts of updates, or shares of all updates if below 1 (see due.h) */
    double logging_steps, save_steps, eval_steps, eval_delay;
    enum interval save_strategy, eval_strategy, logging_strategy;
    enum report report_to; /* the word "all" is stored as REPORT_TENSORBOARD */
    bool log_first, eval_on_start;
    /* choice of the best model */
    bool load_best;
    enum metric metric;
    enum toggle greater;
    int64_t patience; /* 0: no early stopping */
    double threshold;
    /* the optimiser */
    double learning_rate, warmup_ratio, weight_decay, max_grad_norm, beta1, beta2, epsilon;
    int64_t warmup_steps;
    enum schedule scheduler;
    enum optim optim;
    /* the trained parameters */
    int64_t lora_rank;
    double lora_alpha, lora_dropout;
    const char *target_modules; /* names separated by commas, or "all" */
    enum embedding train_embedding;
    bool train_norm, from_scratch;
    enum method method; /* METHOD_LORA or METHOD_FULL */
    enum quantization quantization;
    /* how the model computes */
    enum attention_kind attention;
    enum toggle document_mask;
    const char *rope;
    int64_t group, original_context, chunk_rows;
    enum toggle checkpointing, offload_activations, offload_optimizer;
    bool bf16, fp16, fp8;
    double loss_scale;
    /* where each value was set: "FILE:LINE" or "command line"; NULL if it was not set */
    const char *origins[RECIPE_KEYS_MAX];
    /* LLaMA-Factory's keys, which together decide document_mask; auto: not given. is_pretraining:
     * its stage is pt */
    enum toggle packing, neat_packing;
    bool is_pretraining;
    bool packs_samples; /* Axolotl's sample_packing is true */
    /* Axolotl's keys, which with num_train_epochs decide save_steps and eval_steps; 0: not given */
    int64_t saves_per_epoch, evals_per_epoch;
    /* the keys of other programs that were given, as recipe_foreign_at numbers them */
    bool has_foreign[RECIPE_FOREIGN_MAX];
    /* where lora_rank, lora_alpha and lora_dropout were null; NULL: nowhere */
    const char *empty_lora[RECIPE_LORA_NUMBERS];
    const char **texts; /* owns the texts that the pointers above point to */
    int text_count;
};

void recipe_defaults(struct recipe *r);
void recipe_release(struct recipe *r);
/* Reads a recipe. Fails on an unknown or duplicate key. The message has line and column, and the
 * known key that is nearest to an unknown one. Keys of other programs, such as Hugging Face's
 * Trainer, are accepted if a key of ours means the same, or if their value changes nothing here.
 * For other values the message says what to write instead (docs/recipe-keys.md). The function
 * `ignored` is called, with the reason, for each key that is accepted although nothing here depends
 * on it. */
int recipe_read(struct recipe *r, const char *path,
                void (*ignored)(const char *key, const char *why), struct fail *why) MUST_USE;
/* Like recipe_read, but continues after a faulty key. Calls `faulty` for each fault but the last
 * one, which is in *why. Stops after twenty faults. */
int recipe_read_all(struct recipe *r, const char *path,
                    void (*ignored)(const char *key, const char *why),
                    void (*faulty)(const struct fail *fault), struct fail *why) MUST_USE;
/* An `ignored` that tells nothing. */
void recipe_ignore(const char *key, const char *reason);
/* Sets a key from KEY=VALUE. The value is parsed as in a file. Only a path is taken as it is,
 * unless it is null or stands in quotes. */
int recipe_override(struct recipe *r, const char *assignment,
                    void (*ignored)(const char *key, const char *why), struct fail *why) MUST_USE;
/* Sets the keys that nobody has set and that mean something else if they are missing in the program
 * whose keys the recipe has: method, attention and document_mask. Sets document_mask as packing,
 * neat_packing and stage of LLaMA-Factory want, warmup_ratio to 0 if a recipe of Axolotl has
 * warmup_steps: 0, and save_steps and eval_steps as its saves_per_epoch and evals_per_epoch want.
 * Fails if the recipe contradicts itself in these. Calls `tell`, which may be NULL, with a line for
 * each missing key, and with a line of the other missing keys that decide the result and have
 * another default there; and with a line if Axolotl would take the best model. Is called once all
 * values are read, before recipe_check. */
int recipe_settle(struct recipe *r, void (*tell)(const char *line), struct fail *why) MUST_USE;
/* True if the recipe has keys of this program, and by its keys is for no other one. */
bool recipe_is_of(const struct recipe *r, const char *program);
/* True if the recipe has a key of another program than transformers. */
bool recipe_is_foreign(const struct recipe *r);
/* Fails if a value or a combination of values is impossible. plan_only: neither samples nor
 * output_dir are needed. */
int recipe_check(const struct recipe *r, bool plan_only, struct fail *why) MUST_USE;
/* Has `tokenizer` an effect? A whole model gets the files of `tokenizer`. An adapter of a weights
 * stream may get the name of its base from it (base_name.h). */
bool recipe_reads_tokenizer(const struct recipe *r);
/* Calls `warn` for each value that was set and has no effect, given the other values. */
void recipe_find_idle(const struct recipe *r, void (*warn)(const char *text));

/* Parses resume_from_checkpoint. */
enum resume recipe_resume(const struct recipe *r);
/* Returns the word that recipes write for this kind of attention. */
const char *recipe_attention_name(enum attention_kind attention);
/* Parses target_modules to a mask of parts. */
int recipe_targets(const struct recipe *r, uint32_t *parts, struct fail *why) MUST_USE;
/* Fails if target_modules names a linear layer that a model with this config lacks. */
int recipe_check_targets(const struct recipe *r, const struct config *c, struct fail *why) MUST_USE;
/* Returns the mask of the parts that train_embedding and train_norm select for training. */
uint32_t recipe_modules_to_save(const struct recipe *r);
/* Copies rank, alpha, dropout, target modules, train_embedding and train_norm from an adapter that
 * is trained further. Fails if the recipe sets another value. Only a dropout of the recipe is kept,
 * and `tell`, which may be NULL, is called with a line if the adapter has another one. */
int recipe_use_adapter(struct recipe *r, const struct adapter *a, void (*tell)(const char *line),
                       struct fail *why) MUST_USE;

/* True for a key of recipes, ours or another program's. */
bool recipe_knows_key(const char *name);
/* Writes into *why what to do with a recipe key that was given as an option. In the message these
 * words follow the key's name. Always returns -1. */
int recipe_explain_key(const char *name, const char *value, struct fail *why) MUST_USE;
/* Prints every value as "key: value # origin", for --print-config. The output reads back as exactly
 * the same recipe. Fails if a text cannot be written as YAML. */
int recipe_print(const struct recipe *r, FILE *to, struct fail *why) MUST_USE;
/* Prints three Markdown tables, with an empty line between them: our keys, the keys of other
 * programs, and the defaults of both. */
void recipe_list_keys(FILE *to);
/* Prints the keys for the shell's completion (lib/cli/opt.h): "key= ARGUMENT word|word". */
void recipe_list_completions(FILE *to);
/* Returns the values that decide the result, for longqlora.json and the digest. */
json_t *recipe_to_json(const struct recipe *r);
/* Adds to the result of recipe_to_json the keys that it leaves out because earlier versions did not
 * have them, with their defaults. Returns recipe, which may be NULL. */
json_t *recipe_complete_json(json_t *recipe);

/* Return the values that decide the bytes of a run, checkpoints included, and the paths of its
 * inputs: objects that map keys to texts. NULL if memory runs out. */
json_t *recipe_record(const struct recipe *r);
json_t *recipe_record_inputs(const struct recipe *r);
/* Sets the values of such an object. `place` names the file in which it was. */
int recipe_read_record(struct recipe *r, const json_t *record, const char *place,
                       struct fail *why) MUST_USE;
/* True if two objects of recipe_record differ; text[size] gets "KEY was A, is B". */
bool recipe_differs(const json_t *then, const json_t *now, char *text, size_t size);
/* True for the keys whose values are the paths of inputs. */
bool recipe_is_input(const char *key);

/* The names of the schedules in transformers, indexed by enum schedule. NULL ends the list. */
extern const char *const recipe_schedules[];

#endif
