/* recipe_inside.h - what the parts of a recipe share; for recipe*.c only. */
#ifndef LONGQLORA_RECIPE_INSIDE_H
#define LONGQLORA_RECIPE_INSIDE_H

#include "tools/train/recipe.h"

#include <yaml.h>

/* STEPS: a count, or a share below 1 of all steps. WORDS: one of the words, or a list of
 * them. */
enum recipe_kind { TEXT, COUNT, REAL, STEPS, FLAG, AUTO_FLAG, WORD, WORDS, NAMES, IGNORED };

/* decides: the value decides the result, so a run cannot be resumed with another. */
struct recipe_key {
    const char *name;
    enum recipe_kind kind;
    size_t at;
    bool decides, is_ours;
    const char *meaning, *words;
};

extern const struct recipe_key recipe_keys[];
extern const int recipe_key_count;

/* ---- a value as it was written ---- */

enum value_shape { VALUE_SCALAR, VALUE_LIST, VALUE_MAPPING };

struct recipe_value {
    enum value_shape shape;
    bool is_quoted;   /* a scalar in quotes is a text, but a number or a flag in them is taken */
    const char *text; /* of a list: its scalars, joined by commas; of a mapping "" or "{...}" */
};

/* null, ~, or nothing at all. */
bool recipe_is_null(const struct recipe_value *v);
/* NULL: it is none of ours. */
const struct recipe_key *recipe_find_key(const char *name);
/* The one reader of values, for files and for the command line. The value of a key that somebody
 * said has an origin. */
int recipe_set(struct recipe *r, const struct recipe_key *k, const struct recipe_value *v,
               const char *origin, void (*ignored)(const char *key, const char *why),
               struct fail *why) MUST_USE;
/* Of the key and of what is another name of it. NULL: nobody said it. Fails out of memory. */
int recipe_set_origin(struct recipe *r, const struct recipe_key *k, const char *origin);
/* Fails, naming the nearest. */
int recipe_unknown_key(const char *name, struct fail *why) MUST_USE;
/* Is the value of the key the same in both? */
bool recipe_same_value(const struct recipe *a, const struct recipe *b, const struct recipe_key *k);
/* A value of the command line, which is YAML. *document: to be deleted when the value is done
 * with. */
int recipe_parse_value(const char *key, const char *text, struct recipe_value *v, char list[1024],
                       yaml_document_t *document, struct fail *why) MUST_USE;

/* ---- keys of other programs ---- */

/* SAME_AS: another name of ours. HARMLESS: nothing here depends on it. ONLY: as long as it has one
 * of some values, at which it does nothing. ANSWERED: refused, with what takes its place. */
enum foreign_kind { SAME_AS, HARMLESS, ONLY, ANSWERED };

struct foreign_key {
    const char *name;
    const char *programs; /* that have it */
    enum foreign_kind kind;
    const char *ours;   /* SAME_AS: the key */
    const char *values; /* SAME_AS: "theirs=ours|…", NULL: as they are; ONLY: "false|0" */
    const char *says;   /* why, or what to do; "{pack}" is that program: see recipe_foreign_says */
};

enum { FOREIGN_KEYS_MAX = 512 };

extern const struct foreign_key recipe_foreign_trainer_keys[], recipe_foreign_program_keys[];
extern const int recipe_foreign_trainer_key_count, recipe_foreign_program_key_count;

/* NULL: it is not known. */
const struct foreign_key *recipe_foreign_find(const char *name);
int recipe_foreign_take(struct recipe *r, const struct foreign_key *f, const struct recipe_value *v,
                        const char *origin, void (*ignored)(const char *key, const char *why),
                        struct fail *why) MUST_USE;
enum { FOREIGN_TEXT = 300 };
/* What it says, with programs as they are called here; returns text. */
const char *recipe_foreign_says(const struct foreign_key *f, char text[FOREIGN_TEXT]);
/* The i-th of all; NULL: there are no more. */
const struct foreign_key *recipe_foreign_at(int i);

/* ---- the rest ---- */

/* A copy that lives as long as the recipe; NULL: out of memory. */
const char *recipe_keep_text(struct recipe *r, const char *text);
/* Where the value of a key that there is comes from; NULL: nobody said one. */
const char **recipe_origin(struct recipe *r, const char *key);

/* Are its numbers such that what is computed of them fits? */
int recipe_check_ranges(const struct recipe *r, struct fail *why) MUST_USE;

#endif
