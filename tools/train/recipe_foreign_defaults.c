/* The values that keys have in other programs if a recipe does not give them. The table is printed
 * for docs/coming-from.md. */
#include "tools/train/recipe_inside.h"

/* The names as the tables of keys have them. transformers is missing: our recipes have its keys. */
const char *const recipe_programs[] = { "PEFT", "LongLoRA", "QLoRA", "Axolotl", "LLaMA-Factory" };
_Static_assert(sizeof recipe_programs / sizeof *recipe_programs == RECIPE_PROGRAMS, "a name each");

/* NONE: the program wants a value. */
#define NONE "-"
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
    { "max_steps",                   { "0",              "0",           "10000",    "0",         "0" } },
    { "per_device_train_batch_size", { "8",              "8",           "1",        "1",         "8" } },
    { "gradient_accumulation_steps", { "1",              "1",           "16",       "1",         "1" } },
    { "learning_rate",               { "5e-05",          "5e-05",       "0.0002",   NONE,        "5e-05" } },
    { "lr_scheduler_type",           { "linear",         "linear",      "constant", "cosine",    "linear" } },
    { "warmup_ratio",                { "0",              "0",           "0.03",     "0.03",      "0" } },
    { "max_grad_norm",               { "1",              "1",           "0.3",      "1",         "1" } },
    { "lora_rank",                   { "8",              "8",           "64",       NONE,        "8" } },
    { "lora_alpha",                  { "8",              "16",          "16",       NONE,        "2 lora_rank" } },
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

/* Returns the program that has most of the given keys, or -1 if no key of another program is given.
 * PEFT stands for transformers, too. */
static int find_program(const struct recipe *r)
{
    const struct foreign_key *f;
    int keys[RECIPE_PROGRAMS] = { 0 }, most = 0;
    bool is_any = false;
    for (int i = 0; (f = recipe_foreign_at(i)); i++)
        for (int p = 0; r->has_foreign[i] && p < RECIPE_PROGRAMS; p++) {
            is_any = true;
            keys[p] += p && strstr(f->programs, recipe_programs[p]);
        }
    for (int p = 1; p < RECIPE_PROGRAMS; p++)
        if (keys[p] > keys[most]) most = p;
    return is_any ? most : -1;
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

void recipe_tell_defaults(const struct recipe *r, void (*tell)(const char *line))
{
    int program = find_program(r);
    char line[1000], buffer[64];
    size_t used = 0;
    for (int i = 0; program >= 0 && i < ROWS; i++) {
        const struct recipe_key *k = recipe_find_key(defaults[i].key);
        const char *theirs = defaults[i].theirs[program], *ours = recipe_value_text(r, k, buffer);
        if (!(k->flags & DECIDES) || recipe_is_given(r, k->name)) continue;
        if (!strcmp(theirs, NONE) || !strcmp(theirs, ours) || is_idle(r, k->name)) continue;
        if (!used)
            used = (size_t)snprintf(line, sizeof line, "not given, so not as in %s:",
                                    program ? recipe_programs[program] : "transformers and PEFT");
        used += (size_t)snprintf(line + used, sizeof line - used, " %s: %s (there %s),", k->name,
                                 ours, theirs);
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
        const struct recipe_key *k = recipe_find_key(defaults[i].key);
        fprintf(to, "| `%s` | %s", k->name, recipe_value_text(&r, k, buffer));
        for (int p = 0; p < RECIPE_PROGRAMS; p++)
            fprintf(to, " | %s", defaults[i].theirs[p]);
        fprintf(to, " |\n");
    }
}
