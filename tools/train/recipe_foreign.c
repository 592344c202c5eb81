/* Translates keys of other programs' recipes to ours. The tables are in recipe_foreign_trainer.c
 * and recipe_foreign_programs.c; recipe_list_keys prints them for docs/recipe-keys.md. */
#include "tools/train/recipe_inside.h"
#include "tools/train/recipe_scalar.h"

#include "lib/common/program.h"

const struct foreign_key *recipe_foreign_at(int i)
{
    if (i < recipe_foreign_trainer_key_count) return &recipe_foreign_trainer_keys[i];
    i -= recipe_foreign_trainer_key_count;
    return i < recipe_foreign_program_key_count ? &recipe_foreign_program_keys[i] : NULL;
}

const struct foreign_key *recipe_foreign_find(const char *name)
{
    const struct foreign_key *f;
    for (int i = 0; (f = recipe_foreign_at(i)); i++)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}

bool recipe_foreign_given(const struct recipe *r, const char *name)
{
    const struct foreign_key *f;
    for (int i = 0; (f = recipe_foreign_at(i)); i++)
        if (!strcmp(f->name, name)) return r->has_foreign[i];
    return false;
}

void recipe_foreign_remember(struct recipe *r, const struct foreign_key *f)
{
    for (int i = 0; i < FOREIGN_KEYS_MAX && recipe_foreign_at(i); i++)
        if (recipe_foreign_at(i) == f) r->has_foreign[i] = true;
}

const char *recipe_foreign_says(const struct foreign_key *f, char text[FOREIGN_TEXT])
{
    size_t used = 0;
    for (const char *at = f->says; *at && used < FOREIGN_TEXT;) {
        size_t plain = strcspn(at, "{"), name = at[plain] ? strcspn(at + plain, "}") : 0;
        char tool[32] = "";
        if (name) snprintf(tool, sizeof tool, "%.*s", (int)name - 1, at + plain + 1);
        used += (size_t)snprintf(text + used, FOREIGN_TEXT - used, "%.*s%s", (int)plain, at,
                                 name ? program_of(tool) : "");
        at += plain + (name ? name + 1 : 0);
    }
    return text;
}

/* True if the value is empty, which has no effect in these programs. */
static bool is_empty(const struct recipe_value *v) { return !*v->text || recipe_is_null(v); }

/* True if two texts mean the same flag, number or word. */
static bool is_same(const char *a, const char *b)
{
    struct scalar x = scalar_read(a), y = scalar_read(b);
    bool are_numbers = (x.kind == SCALAR_INTEGER || x.kind == SCALAR_REAL) &&
                       (y.kind == SCALAR_INTEGER || y.kind == SCALAR_REAL);
    if (are_numbers) return !(x.real < y.real) && !(x.real > y.real);
    if (x.kind == SCALAR_TRUE || x.kind == SCALAR_FALSE) return x.kind == y.kind;
    return !strcmp(a, b);
}

/* Copies the next word of "a|b|c". Returns false if there is none. */
static bool next_word(const char **list, char word[64])
{
    if (!*list) return false;
    size_t length = strcspn(*list, "|");
    snprintf(word, 64, "%.*s", (int)length, *list);
    *list = (*list)[length] ? *list + length + 1 : NULL;
    return true;
}

/* Translates a value by "theirs=ours|…". Returns NULL if it is not in the list. */
static const char *translate(const char *pairs, const struct recipe_value *v, char word[64])
{
    bool is_null = recipe_is_null(v);
    if (v->shape != VALUE_SCALAR) return NULL;
    while (next_word(&pairs, word)) {
        char *equals = strchr(word, '=');
        must(equals);
        *equals = 0;
        if (!strcmp(word, "null") ? is_null : !is_null && is_same(v->text, word)) return equals + 1;
    }
    return NULL;
}

/* Writes "true, false" for "true=s2|false=full". */
static void list_theirs(const char *pairs, char text[200])
{
    char word[64];
    size_t used = 0;
    text[0] = 0;
    while (next_word(&pairs, word) && used < 200)
        used += (size_t)snprintf(text + used, 200 - used, "%s%.*s", used ? ", " : "",
                                 (int)strcspn(word, "="), word);
}

static int take_same(struct recipe *r, const struct foreign_key *f, const struct recipe_value *v,
                     const char *origin, void (*ignored)(const char *, const char *),
                     struct fail *why)
{
    const struct recipe_key *k = recipe_find_key(f->ours);
    struct recipe_value own = *v;
    char word[64], theirs[200], says[FOREIGN_TEXT];
    must(k);
    bool only_null = f->values && !strcmp(f->values, FOREIGN_NULL_IDLE);
    if (f->values && (!only_null || recipe_is_null(v))) {
        const char *ours = translate(f->values, v, word);
        list_theirs(f->values, theirs);
        if (!ours)
            return fail_usage(why, "%s: '%.60s' is not one of %s: %s", f->name, v->text, theirs,
                              recipe_foreign_says(f, says));
        if (!*ours) return 0;
        own = (struct recipe_value){ .text = ours };
    }
    /* The message names our key. The user may know only the other name. */
    return recipe_set(r, k, &own, origin, ignored, why) ? fail_in(why, f->name) : 0;
}

/* True if a key of kind ONLY accepts the value. An empty value counts as false or 0 there. */
static bool is_allowed(const struct foreign_key *f, const struct recipe_value *v)
{
    char word[64];
    if (is_empty(v) && !*f->values) return true;
    if (v->shape != VALUE_SCALAR && !is_empty(v)) return false;
    for (const char *list = f->values; next_word(&list, word);) {
        bool is_none = !strcmp(word, "null") || is_same(word, "false") || is_same(word, "0");
        if (is_empty(v) ? is_none : is_same(v->text, word)) return true;
    }
    return false;
}

static int set_packing(struct recipe *r, const struct foreign_key *f, const struct recipe_value *v,
                       struct fail *why)
{
    enum toggle *value = !strcmp(f->name, "packing") ? &r->packing : &r->neat_packing;
    bool is_yes = is_same(v->text, "true"), is_no = is_same(v->text, "false");
    if (v->shape != VALUE_SCALAR || (!is_yes && !is_no && !recipe_is_null(v)))
        return fail_usage(why, "%s: '%.60s' is not true or false", f->name, v->text);
    *value = is_yes ? TOGGLE_YES : is_no ? TOGGLE_NO : TOGGLE_AUTO;
    return 0;
}

static int set_per_epoch(struct recipe *r, const struct foreign_key *f,
                         const struct recipe_value *v, struct fail *why)
{
    struct scalar s = scalar_read(v->text);
    bool is_count = s.kind == SCALAR_INTEGER && s.integer >= 0 && s.integer <= RECIPE_STEPS_MAX;
    if (v->shape != VALUE_SCALAR || (!is_count && !is_empty(v)))
        return fail_usage(why, "%s: '%.60s' is not a count", f->name, v->text);
    *(!strcmp(f->name, "saves_per_epoch") ? &r->saves_per_epoch : &r->evals_per_epoch) =
        is_count ? s.integer : 0;
    return 0;
}

int recipe_foreign_set(struct recipe *r, const struct foreign_key *f, const struct recipe_value *v,
                       const char *origin, void (*ignored)(const char *, const char *),
                       struct fail *why)
{
    char says[FOREIGN_TEXT];
    recipe_foreign_remember(r, f);
    if (!strcmp(f->name, "sample_packing")) r->packs_samples = is_same(v->text, "true");
    if (f->kind == SAME_AS) return take_same(r, f, v, origin, ignored, why);
    if (f->kind == PACKING) return set_packing(r, f, v, why);
    if (f->kind == PER_EPOCH) return set_per_epoch(r, f, v, why);
    if (f->kind == ONLY ? is_allowed(f, v) : f->kind != NEVER && is_empty(v)) {
        if (!strcmp(f->name, "stage")) r->is_pretraining = is_same(v->text, "pt");
        return 0;
    }
    if (f->kind == HARMLESS) {
        ignored(f->name, recipe_foreign_says(f, says));
        return 0;
    }
    if (f->kind == ANSWERED || f->kind == NEVER)
        return fail_usage(why, "%s (of %s) is not a key here: %s", f->name, f->programs,
                          recipe_foreign_says(f, says));
    return fail_usage(why, "%s: '%.60s': %s", f->name, v->text, recipe_foreign_says(f, says));
}
