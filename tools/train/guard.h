/* guard.h - checks, before any work, the files that a run reads and writes.
 */
#ifndef LONGQLORA_GUARD_H
#define LONGQLORA_GUARD_H

#include "tools/train/recipe.h"

/* Returns the place from which tokenizer and licence files are copied to the result (companions.h),
 * or NULL if none are copied. */
const char *guard_companions(const struct recipe *r);

/* Declares the recipe's files (file_guard.h). Fails if output_dir is the folder of the base, the
 * adapter or the tokenizer, cannot be written, or lies inside a checkpoint. Fails also if the run
 * would overwrite an input. plan_only: only standard output is written. */
int guard_files(const struct recipe *r, const char *recipe_file, bool plan_only,
                struct fail *why) MUST_USE;

#endif
