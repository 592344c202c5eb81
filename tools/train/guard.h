/* guard.h - what a run reads and writes, known before any work. */
#ifndef LONGQLORA_GUARD_H
#define LONGQLORA_GUARD_H

#include "tools/train/recipe.h"

/* Where tokenizer and licence files of the result come from (companions.h); NULL: nowhere. */
const char *guard_companions(const struct recipe *r);

/* Declares the recipe's files (file_guard.h): fails if output_dir is the base, the adapter or where
 * the tokenizer comes from, if it cannot be written, if it lies in a checkpoint, or if what the run
 * would write there is one of its inputs. plan_only: only standard output is written. */
int guard_files(const struct recipe *r, const char *recipe_file, bool plan_only,
                struct fail *why) MUST_USE;

#endif
