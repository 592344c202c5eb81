/* same_run.h - decides whether the recipe and its inputs are those of an earlier run. */
#ifndef LONGQLORA_TRAIN_SAME_RUN_H
#define LONGQLORA_TRAIN_SAME_RUN_H

#include "tools/train/trainer.h"

/* Fails if the recipe, its samples, its base or its tokenizer differ from those of the run `then`,
 * and names the first difference. Another number of steps is none. */
int same_run_check_recipe(const struct trainer *t, const struct run_state *then,
                          struct fail *why) MUST_USE;
/* Fails also if the device, the rows of a chunk or the first eval_file differ. */
int same_run_check(const struct trainer *t, const struct run_state *then,
                   struct fail *why) MUST_USE;
/* Fills *then with the state of the run in the folder, as its record has it. */
int same_run_of_record(const struct trainer *t, struct run_state *then, struct fail *why) MUST_USE;
/* Fails if the run in the folder has replaced another one, which is still there, and the recipe is
 * not that of the later run. It may be that of the earlier one, which must not be removed then. Not
 * for a run that overwrites. */
int same_run_check_replacer(const struct trainer *t, struct fail *why) MUST_USE;

#endif
