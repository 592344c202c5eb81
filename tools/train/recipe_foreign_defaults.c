/* The values that keys have in other programs if a recipe does not give them. The table is printed
 * for docs/coming-from.md. */
#include "tools/train/recipe_inside.h"

/* The names as the tables of keys have them. transformers is missing: our recipes have its keys. */
const char *const recipe_programs[] = { "PEFT", "LongLoRA", "QLoRA", "Axolotl", "LLaMA-Factory" };
_Static_assert(sizeof recipe_programs / sizeof *recipe_programs == RECIPE_PROGRAMS, "a name each");

/* NONE: the program wants a value. */
#define NONE "-"
/* LLaMA-Factory's default of lora_alpha, which depends on another key. */
#define TWICE_RANK "2 lora_rank"
/* BY_DATA: the data or the user's script decide, as the samples do here. */
#define BY_DATA "by data"

/* clang-format off */
static const struct {
    const char *key, *theirs[RECIPE_PROGRAMS];
} defaults[] = {
    /*                                 PEFT              LongLoRA       QLoRA       Axolotl      LLaMA-Factory */
    { "method",                      { "lora",           "lora",        "lora",     "full",      "lora" } },
    { "attention",                   { "full",           "s2",          "full",     "full",      "full" } },
    { "document_mask",               { BY_DATA,          BY_DATA,       "yes",      "yes",       "yes" } },
    { "rope",                        { "none",           "linear",      "none",     "none",      "none" } },
    { "num_train_epochs",            { "3",              "3",           "3",        "1",         "3" } },
    { "max_seq_length",              { BY_DATA,          "32768",       "1280",     "512",       "2048" } },
    { "max_steps",                   { "0",              "0",           "10000",    "0",         "0" } },
    { "per_device_train_batch_size", { "8",              "8",           "1",        "1",         "8" } },
    { "gradient_accumulation_steps", { "1",              "1",           "16",       "1",         "1" } },
    { "group_by_length",             { "false",          "false",       "true",     "false",     "false" } },
    { "learning_rate",               { "5e-05",          "5e-05",       "0.0002",   NONE,        "5e-05" } },
    { "lr_scheduler_type",           { "linear",         "linear",      "constant", "cosine",    "linear" } },
    { "warmup_ratio",                { "0",              "0",           "0.03",     "0.03",      "0" } },
    { "max_grad_norm",               { "1",              "1",           "0.3",      "1",         "1" } },
    { "bf16",                        { "false",          "false",       "false",    "auto",      "false" } },
    { "lora_rank",                   { "8",              "8",           "64",       NONE,        "8" } },
    { "lora_alpha",                  { "8",              "16",          "16",       NONE,        TWICE_RANK } },
    { "lora_dropout",                { "0",              "0",           "0",        "0",         "0" } },
    { "target_modules",              { "by model",       "q, k, v, o",  "all",      NONE,        "all" } },
    { "train_embedding",             { "false",          "embedding",   "false",    "false",     "false" } },
    { "train_norm",                  { "false",          "true",        "false",    "false",     "false" } },
    { "save_steps",                  { "500",            "500",         "250",      "an epoch",  "500" } },
    { "save_total_limit",            { "0",              "0",           "40",       "4",         "0" } },
    { "logging_steps",               { "500",            "500",         "10",       "0.005",     "500" } },
    { "eval_on_start",               { "false",          "false",       "false",    "false",     "false" } },
};
/* clang-format on */
enum { ROWS = sizeof defaults / sizeof *defaults };

const char *recipe_foreign_default(const char *key, int program)
{
    for (int i = 0; i < ROWS; i++)
        if (!strcmp(defaults[i].key, key)) return defaults[i].theirs[program];
    return NULL;
}

/* Returns the mask of the programs for which the recipe may be written; 0: none, as no key of
 * another program is given. PEFT stands for transformers, too. A key that one program alone has
 * shows that the recipe is for it; of several such programs the one with most keys counts. */
static unsigned find_programs(const struct recipe *r)
{
    const struct foreign_key *f;
    int keys[RECIPE_PROGRAMS] = { 0 };
    unsigned all = 0, sole = 0, most = 0;
    bool is_any = false;
    for (int i = 0; (f = recipe_foreign_at(i)); i++) {
        unsigned own = 0;
        for (int p = 1; r->has_foreign[i] && p < RECIPE_PROGRAMS; p++)
            if (strstr(f->programs, recipe_programs[p])) own |= 1u << p;
        for (int p = 1; p < RECIPE_PROGRAMS; p++)
            keys[p] += own >> p & 1;
        is_any |= r->has_foreign[i];
        all |= own;
        if (!(own & (own - 1))) sole |= own;
    }
    for (int p = 1, count = 0; p < RECIPE_PROGRAMS; p++) {
        if (!(sole >> p & 1) || keys[p] < count) continue;
        most = keys[p] > count ? 1u << p : most | 1u << p;
        count = keys[p];
    }
    return most ? most : all ? all : is_any;
}

bool recipe_is_foreign(const struct recipe *r)
{
    const struct foreign_key *f;
    for (int i = 0; (f = recipe_foreign_at(i)); i++)
        if (r->has_foreign[i] && !strstr(f->programs, "transformers")) return true;
    return false;
}

bool recipe_is_of(const struct recipe *r, const char *program)
{
    unsigned programs = find_programs(r);
    for (int p = 0; p < RECIPE_PROGRAMS; p++)
        if (!strcmp(recipe_programs[p], program)) return programs == 1u << p;
    return false;
}

/* True if the value of a key cannot matter, given the others. */
static bool is_idle(const struct recipe *r, const char *key)
{
    for (int i = 0; i < RECIPE_LORA_KEYS; i++)
        if (!strcmp(key, recipe_lora_keys[i])) return r->method != METHOD_LORA || r->adapter;
    if (!strcmp(key, "num_train_epochs")) return r->max_steps > 0;
    if (!strcmp(key, "warmup_ratio")) return r->warmup_steps > 0;
    return false;
}

/* Returns our value of a row of the table. group_by_length is no key of ours, and always off. */
static const char *value_here(const struct recipe *r, const char *key, char buffer[64])
{
    const struct recipe_key *k = recipe_find_key(key);
    return k ? recipe_value_text(r, k, buffer) : "false";
}

static bool is_given(const struct recipe *r, const char *key)
{
    return recipe_find_key(key) ? recipe_is_given(r, key) : recipe_foreign_given(r, key);
}

/* True if a value of ours is the default of a program. */
static bool is_default(const struct recipe *r, const char *ours, const char *theirs)
{
    if (!strcmp(theirs, TWICE_RANK)) return strtod(ours, NULL) == 2 * (double)r->lora_rank;
    return !strcmp(ours, theirs);
}

/* Does the key decide the result, and is it missing with another value in one of the programs? */
static bool differs(const struct recipe *r, int row, unsigned programs)
{
    char buffer[64];
    const char *key = defaults[row].key;
    const struct recipe_key *k = recipe_find_key(key);
    if ((k && !(k->flags & DECIDES)) || is_given(r, key) || is_idle(r, key)) return false;
    for (int p = 0; p < RECIPE_PROGRAMS; p++) {
        const char *theirs = defaults[row].theirs[p];
        if (programs >> p & 1 && strcmp(theirs, BY_DATA) != 0 &&
            !is_default(r, value_here(r, key, buffer), theirs))
            return true;
    }
    return false;
}

/* Writes "LongLoRA, Axolotl" for a mask of programs. */
static void list_programs(unsigned programs, char text[100])
{
    size_t used = 0;
    for (int p = 0; p < RECIPE_PROGRAMS; p++)
        if (programs >> p & 1)
            used += (size_t)snprintf(text + used, 100 - used, "%s%s", used ? ", " : "",
                                     p ? recipe_programs[p] : "transformers and PEFT");
}

void recipe_tell_defaults(const struct recipe *r, void (*tell)(const char *line))
{
    unsigned programs = find_programs(r);
    bool is_one = programs && !(programs & (programs - 1));
    int program = is_one ? __builtin_ctz(programs) : 0;
    char line[1400], names[100], buffer[64];
    size_t used = 0;
    list_programs(programs, names);
    for (int i = 0; programs && i < ROWS; i++) {
        if (!differs(r, i, programs)) continue;
        const char *key = defaults[i].key, *theirs = defaults[i].theirs[program];
        if (!used)
            used = (size_t)snprintf(
                line, sizeof line,
                is_one ? "not given, so not as in %s:"
                       : "for one of the programs %s, and some of them have another "
                         "value (see --list-keys) of what is not given:",
                names);
        used += (size_t)snprintf(line + used, sizeof line - used, " %s: %s", key,
                                 value_here(r, key, buffer));
        if (is_one && !strcmp(theirs, NONE))
            used += (size_t)snprintf(line + used, sizeof line - used, " (there it must be given)");
        else if (is_one)
            used += (size_t)snprintf(line + used, sizeof line - used, " (there %s)", theirs);
        used += (size_t)snprintf(line + used, sizeof line - used, ",");
        must(used < sizeof line);
    }
    if (!used) return;
    line[used - 1] = 0; /* the last comma */
    tell(line);
}

void recipe_list_defaults(FILE *to)
{
    struct recipe r;
    char buffer[64];
    recipe_defaults(&r);
    fprintf(to, "\n| key | here | transformers, PEFT");
    for (int p = 1; p < RECIPE_PROGRAMS; p++)
        fprintf(to, " | %s", recipe_programs[p]);
    fprintf(to, " |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < ROWS; i++) {
        const char *key = defaults[i].key;
        fprintf(to, "| `%s` | %s", key, value_here(&r, key, buffer));
        for (int p = 0; p < RECIPE_PROGRAMS; p++)
            fprintf(to, " | %s", defaults[i].theirs[p]);
        fprintf(to, " |\n");
    }
}
