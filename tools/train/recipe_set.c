/* Sets a key to a value from a recipe or from the command line. */
#include "lib/cli/opt.h"
#include "tools/train/recipe_inside.h"
#include "tools/train/recipe_scalar.h"

#include <math.h>
#include <stddef.h>

static void *value_at(struct recipe *r, const struct recipe_key *k) { return (char *)r + k->at; }

static bool is_text_kind(enum recipe_kind kind)
{
    return kind == TEXT || kind == PATHS || kind == WORD || kind == WORDS || kind == NAMES;
}

static bool is_key(const struct recipe_key *k, const char *name) { return !strcmp(k->name, name); }

/* ---- null ---- */

/* True if Hugging Face's Trainer or PEFT does not allow None for the key, and for two keys of ours.
 * In that case null probably means that somebody forgot the value, and the default would be a
 * guess. */
static bool needs_value(const struct recipe_key *k)
{
    static const char *const names[] = { "learning_rate",
                                         "num_train_epochs",
                                         "per_device_train_batch_size",
                                         "gradient_accumulation_steps",
                                         "context_segments",
                                         "gradient_block",
                                         "weight_decay",
                                         "adam_beta1",
                                         "adam_beta2",
                                         "adam_epsilon",
                                         "max_grad_norm",
                                         "logging_steps",
                                         "seed",
                                         "lr_scheduler_type",
                                         "optim",
                                         "save_strategy",
                                         "eval_strategy",
                                         "logging_strategy" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_key(k, names[i])) return true;
    return false;
}

/* Resets a key to its default. */
static void set_default(struct recipe *r, const struct recipe_key *k)
{
    static const size_t sizes[] = {
        [TEXT] = sizeof(char *),           [PATHS] = sizeof(char *), [COUNT] = sizeof(int64_t),
        [REAL] = sizeof(double),           [STEPS] = sizeof(double), [FLAG] = sizeof(bool),
        [AUTO_FLAG] = sizeof(enum toggle), [WORD] = sizeof(int),     [WORDS] = sizeof(int),
        [NAMES] = sizeof(char *),
    };
    struct recipe none;
    recipe_defaults(&none);
    memcpy(value_at(r, k), (char *)&none + k->at, sizes[k->kind]);
    recipe_set_origin(r, k, NULL);
}

static int set_null(struct recipe *r, const struct recipe_key *k, const char *origin,
                    struct fail *why)
{
    if (is_key(k, "target_modules"))
        return fail_usage(why, "target_modules has no value, for which PEFT takes a list of its "
                               "own for each kind of model, for llama q_proj and v_proj: write "
                               "the modules, or all");
    if (needs_value(k))
        return fail_usage(why, "%s has no value: write one, or leave the key out", k->name);
    set_default(r, k);
    /* PEFT needs these, but method: full does not. recipe_check knows the method. */
    for (int i = 0; i < RECIPE_LORA_NUMBERS; i++)
        if (is_key(k, recipe_lora_keys[i])) {
            r->empty_lora[i] = recipe_keep_text(r, origin);
            return r->empty_lora[i] ? 0 : fail(why, "out of memory");
        }
    if (!is_key(k, "save_total_limit")) return 0;
    /* For Hugging Face's Trainer None means no limit. */
    r->save_total_limit = 0;
    return recipe_set_origin(r, k, origin) ? fail(why, "out of memory") : 0;
}

/* ---- numbers ---- */

/* Refuses a number that YAML readers understand differently, and says how. Returns 1 if the number
 * is unambiguous. */
static int refuse_odd(const char *key, const char *text, enum scalar_kind kind, struct fail *why)
{
    switch (kind) {
    case SCALAR_LEADING_ZERO:
        return fail_usage(why,
                          "%s: '%.60s' begins with 0, which is octal to some readers of YAML and "
                          "decimal to others: write the number without it",
                          key, text);
    case SCALAR_SIXTIES:
        return fail_usage(why,
                          "%s: '%.60s' is a base-60 number in YAML 1.1 and a text elsewhere: write "
                          "a plain number",
                          key, text);
    case SCALAR_INFINITE:
        return fail_usage(why, "%s: '%.60s' is not finite", key, text);
    default:
        return 1;
    }
}

static int set_count(struct recipe *r, const struct recipe_key *k, const char *text,
                     struct fail *why)
{
    struct scalar s = scalar_read(text);
    bool is_whole = s.kind == SCALAR_INTEGER ||
                    (s.kind == SCALAR_REAL && fabs(s.real) < 0x1p53 && s.real == floor(s.real));
    if (refuse_odd(k->name, text, s.kind, why) < 0) return -1;
    int64_t n = s.kind == SCALAR_INTEGER ? s.integer : is_whole ? (int64_t)s.real : 0;
    /* For Hugging Face's Trainer any negative number means no limit. */
    if (n < 0 && (is_key(k, "max_steps") || is_key(k, "save_total_limit"))) n = 0;
    if (!is_whole || n < 0) return fail_usage(why, "%s: '%.60s' is not a count", k->name, text);
    *(int64_t *)value_at(r, k) = n;
    return 0;
}

static int set_real(struct recipe *r, const struct recipe_key *k, const char *text,
                    struct fail *why)
{
    struct scalar s = scalar_read(text);
    bool is_number = s.kind == SCALAR_INTEGER || s.kind == SCALAR_REAL;
    if (refuse_odd(k->name, text, s.kind, why) < 0) return -1;
    /* An adapter that is trained further may have a negative alpha. recipe_check refuses others. */
    if (!is_number || (s.real < 0 && !is_key(k, "lora_alpha")))
        return fail_usage(why, "%s: '%.60s' is not a number of at least 0", k->name, text);
    bool is_steps = k->kind == STEPS;
    if (is_steps && s.real > 1 && s.real != floor(s.real))
        return fail_usage(why, "%s: '%.60s' is neither a count nor a share below 1", k->name, text);
    *(double *)value_at(r, k) = s.real + 0.0;
    return 0;
}

/* True for a number between 0 and 1. In transformers 5 such a warmup_steps is a share of all steps,
 * which is our warmup_ratio. */
static bool is_share(const char *text)
{
    struct scalar s = scalar_read(text);
    return s.kind == SCALAR_REAL && s.real > 0 && s.real < 1;
}

/* ---- flags and words ---- */

static int read_flag(const char *text, bool *value)
{
    struct scalar s = scalar_read(text);
    bool is_bit = s.kind == SCALAR_INTEGER && (s.integer == 0 || s.integer == 1);
    if (s.kind != SCALAR_TRUE && s.kind != SCALAR_FALSE && !is_bit) return -1;
    *value = s.kind == SCALAR_TRUE || (is_bit && s.integer);
    return 0;
}

static int set_toggle(struct recipe *r, const struct recipe_key *k, const char *text,
                      struct fail *why)
{
    bool is_yes = false, is_auto = !strcmp(text, "auto");
    if (!is_auto && read_flag(text, &is_yes))
        return fail_usage(why, "%s: '%.60s' is not auto, true or false", k->name, text);
    *(enum toggle *)value_at(r, k) = is_auto ? TOGGLE_AUTO : is_yes ? TOGGLE_YES : TOGGLE_NO;
    return 0;
}

/* Returns the enumerator of a text, or -1. YAML 1.1 reads some words as flags, for example "no" as
 * False, so a flag is turned back into its word. */
static int find_word(const char *const *words, const char *text)
{
    static const char *const yes[] = { "true", "yes", "on" }, *const no[] = { "false", "no",
                                                                              "off" };
    enum scalar_kind kind = scalar_read(text).kind;
    const char *const *names = kind == SCALAR_TRUE ? yes : no;
    int word = recipe_word_find(words, text);
    if (kind != SCALAR_TRUE && kind != SCALAR_FALSE) return word;
    for (size_t i = 0; word < 0 && i < sizeof yes / sizeof *yes; i++)
        word = recipe_word_find(words, names[i]);
    return word;
}

/* Values that other programs have, but not we, with what to write instead. */
static const struct {
    const char *key, *value, *advice;
} answers[] = {
    { "bf16", "auto",
      "which is true in Axolotl on a GPU of compute capability 8.0 or higher, and otherwise fp16: "
      "true: write the one of them for your GPU" },
    { "bf16", "full", "trained weights are f32 here: write true" },
    { "fp16", "auto", "the type decides the result: write true or false" },
    { "optim", "adamw_hf",
      "which adds adam_epsilon before the bias correction and decays after the update: write "
      "adamw_torch" },
};

/* Returns what to write instead of a value, or NULL. */
static const char *answer_to(const struct recipe_key *k, const char *text)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (is_key(k, answers[i].key) && !strcmp(text, answers[i].value)) return answers[i].advice;
    return NULL;
}

static int keep(struct recipe *r, const struct recipe_key *k, const char *text, struct fail *why)
{
    const char *kept = recipe_keep_text(r, text);
    if (!kept) return fail(why, "out of memory");
    *(const char **)value_at(r, k) = kept;
    return 0;
}

static int refuse_word(const struct recipe_key *k, const char *text, struct fail *why)
{
    char words[RECIPE_WORDS_TEXT];
    return fail_usage(why, "%s: '%.60s' is not one of %s", k->name, text,
                      recipe_words_join(k->words, "|", words));
}

static int set_word(struct recipe *r, const struct recipe_key *k, const char *text,
                    struct fail *why)
{
    int word = find_word(k->words, text);
    if (word < 0) return refuse_word(k, text, why);
    *(int *)value_at(r, k) = word;
    return 0;
}

/* Reads the next name of "a, b,c" without the spaces around it. Returns NULL after the last. */
static const char *next_name(const char **list, char name[64])
{
    const char *from = *list;
    if (!from) return NULL;
    size_t length = strcspn(from, ",");
    *list = from[length] ? from + length + 1 : NULL;
    while (length && strchr(" \t\n", *from))
        from++, length--;
    while (length && strchr(" \t\n", from[length - 1]))
        length--;
    snprintf(name, 64, "%.*s", (int)(length < 63 ? length : 63), from);
    return name;
}

/* Sets report_to, the only key of kind WORDS. "all" means every supported target, of which there is
 * one, tensorboard. */
static int set_words(struct recipe *r, const struct recipe_key *k, const char *text,
                     struct fail *why)
{
    char name[64];
    const char *list = text;
    enum report report = REPORT_NONE;
    while (*text && next_name(&list, name)) {
        int word = recipe_word_find(k->words, name);
        if (word < 0) return refuse_word(k, name, why);
        if (word != REPORT_NONE) report = REPORT_TENSORBOARD;
    }
    *(int *)value_at(r, k) = (int)report;
    return 0;
}

static int set_names(struct recipe *r, const struct recipe_key *k, const char *text,
                     struct fail *why)
{
    char name[64], joined[1024];
    const char *list = text;
    const struct recipe asked = { .target_modules = joined };
    uint32_t parts;
    size_t used = 0;
    joined[0] = 0;
    /* PEFT's name for all linear layers except the head */
    if (!strcmp(text, "all-linear")) return keep(r, k, "all", why);
    if (strlen(text) >= sizeof joined)
        return fail_usage(why, "%s: the list is longer than 1023 bytes", k->name);
    bool is_pattern = recipe_is_pattern(text);
    if (is_pattern) snprintf(joined, sizeof joined, "%s", text);
    while (!is_pattern && *text && next_name(&list, name))
        used +=
            (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", used ? "," : "", name);
    /* An empty list is refused when the run begins, because it has no effect on method: full. */
    if (*joined && recipe_targets(&asked, &parts, why)) return -1;
    return keep(r, k, joined, why);
}

/* Sets a text. In a path a leading "~/" is expanded, as Hugging Face's Trainer does in output_dir.
 */
static int set_text(struct recipe *r, const struct recipe_key *k, const char *text,
                    struct fail *why)
{
    char path[4096];
    const char *home = getenv("HOME");
    if (!*text) {
        set_default(r, k);
        return 0;
    }
    if (strncmp(text, "~/", 2) != 0 || is_key(k, "rope")) return keep(r, k, text, why);
    if (!home || !*home)
        return fail_usage(why,
                          "%s: '%.200s' begins with ~, but HOME is not set: write the full path",
                          k->name, text);
    if ((size_t)snprintf(path, sizeof path, "%s%s", home, text + 1) >= sizeof path)
        return fail_usage(why, "%s: the path is longer than 4095 bytes: use a link to it", k->name);
    return keep(r, k, path, why);
}

/* ---- any value ---- */

static int set_scalar(struct recipe *r, const struct recipe_key *k, const char *text,
                      struct fail *why)
{
    switch (k->kind) {
    case COUNT:
        return set_count(r, k, text, why);
    case REAL:
    case STEPS:
        return set_real(r, k, text, why);
    case FLAG:
        if (!read_flag(text, value_at(r, k))) return 0;
        return fail_usage(why, "%s: '%.60s' is not true or false", k->name, text);
    case AUTO_FLAG:
        return set_toggle(r, k, text, why);
    case WORD:
        return set_word(r, k, text, why);
    case WORDS:
        return set_words(r, k, text, why);
    case NAMES:
        return set_names(r, k, text, why);
    default:
        return set_text(r, k, text, why);
    }
}

/* Turns a YAML flag into a word: true means the newest checkpoint, as in the Trainer, and false
 * means none. */
static const char *checkpoint_word(const char *text)
{
    enum scalar_kind kind = scalar_read(text).kind;
    return kind == SCALAR_TRUE ? "true" : kind == SCALAR_FALSE ? "none" : text;
}

bool recipe_is_null(const struct recipe_value *v)
{
    return v->shape == VALUE_SCALAR && !v->is_quoted && scalar_read(v->text).kind == SCALAR_NULL;
}

/* Refuses a configuration of DeepSpeed with a section that decides what is computed. The accepted
 * ones have no effect on the result, or the Trainer compares them with the recipe's own values. */
static int check_deepspeed(const struct recipe_value *v, struct fail *why)
{
    static const char harmless[] =
        "zero_optimization|zero_allow_untested_optimizer|zero_force_ds_cpu_optimizer|bf16|fp16|"
        "gradient_accumulation_steps|gradient_clipping|train_batch_size|"
        "train_micro_batch_size_per_gpu|steps_per_print|wall_clock_breakdown|"
        "communication_data_type|prescale_gradients|gradient_predivide_factor|"
        "activation_checkpointing|aio|checkpoint|comms_logger|flops_profiler|tensorboard|wandb|"
        "csv_monitor|memory_breakdown|dump_state|disable_allgather|autotuning";
    char name[64];
    for (const char *list = v->keys; list && *list && next_name(&list, name);) {
        if (!strcmp(name, "optimizer"))
            return fail_usage(why, "deepspeed: its optimizer replaces that of the recipe there: "
                                   "write optim, learning_rate and weight_decay, and leave it out");
        if (!strcmp(name, "scheduler"))
            return fail_usage(why, "deepspeed: its scheduler replaces that of the recipe there: "
                                   "write lr_scheduler_type and warmup_steps, and leave it out");
        if (!opt_word_in(harmless, name))
            return fail_usage(why,
                              "deepspeed: its key '%s' may change what is computed there: "
                              "leave it out",
                              name);
    }
    return 0;
}

int recipe_set(struct recipe *r, const struct recipe_key *k, const struct recipe_value *v,
               const char *origin, void (*ignored)(const char *, const char *), struct fail *why)
{
    const char *text = v->text;
    bool is_text = is_text_kind(k->kind);
    if (k->kind == IGNORED) {
        if (is_key(k, "deepspeed") && check_deepspeed(v, why)) return -1;
        if (!recipe_is_null(v)) ignored(k->name, k->meaning);
        return 0;
    }
    if (v->shape == VALUE_MAPPING ||
        (v->shape == VALUE_LIST && k->kind != NAMES && k->kind != WORDS && k->kind != PATHS))
        return fail_usage(why, "%s: one plain value is needed", k->name);
    if (recipe_is_null(v)) return set_null(r, k, origin, why);
    if (v->is_quoted && !is_text && !*text)
        return fail_usage(why, "%s has no value: write one, or leave the key out", k->name);
    if (is_key(k, "warmup_steps") && is_share(text)) {
        set_default(r, k); /* nobody has given a count */
        k = recipe_find_key("warmup_ratio");
    }
    if (is_key(k, "resume_from_checkpoint") && !v->is_quoted) text = checkpoint_word(text);
    if (recipe_set_origin(r, k, origin)) return fail(why, "out of memory");
    const char *answer = answer_to(k, text);
    if (answer) return fail_usage(why, "%s: '%s', %s", k->name, text, answer);
    return set_scalar(r, k, text, why);
}
