/* recipe_inside.h - what the parts of a recipe share; for recipe*.c only. */
#ifndef LONGQLORA_RECIPE_INSIDE_H
#define LONGQLORA_RECIPE_INSIDE_H

#include "recipe.h"

enum recipe_kind { TEXT, COUNT, REAL, FLAG, AUTO_FLAG, WORD, NAMES, IGNORED };

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

/* A copy that lives as long as the recipe; NULL: out of memory. */
const char *recipe_keep_text(struct recipe *r, const char *text);
/* Where the value of a key that there is comes from; NULL: nobody said one. */
const char **recipe_origin(struct recipe *r, const char *key);

/* Are its numbers such that what is computed of them fits? */
int recipe_check_ranges(const struct recipe *r, struct fail *why) MUST_USE;
/* A recipe's text, that of YAML within the limits; the caller frees it. */
int recipe_load_text(const char *path, char **text, size_t *bytes, struct fail *why) MUST_USE;

#endif
