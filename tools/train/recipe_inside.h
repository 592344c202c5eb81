/* recipe_inside.h - what the parts of a recipe share; for recipe*.c only. */
#ifndef LONGQLORA_RECIPE_INSIDE_H
#define LONGQLORA_RECIPE_INSIDE_H

#include "recipe.h"

/* A copy that lives as long as the recipe; NULL: out of memory. */
const char *recipe_keep_text(struct recipe *r, const char *text);
/* Where the value of a key that there is comes from; NULL: nobody said one. */
const char **recipe_origin(struct recipe *r, const char *key);

#endif
