/* recipe_text.h - a recipe that a test writes as text. */
#ifndef LONGQLORA_RECIPE_TEXT_H
#define LONGQLORA_RECIPE_TEXT_H

#include "tools/train/recipe.h"

/* Reads the text over the defaults, as recipe_read does with a file. */
int recipe_text_read(struct recipe *r, const char *yaml,
                     void (*ignored)(const char *key, const char *why), struct fail *why) MUST_USE;

#endif
