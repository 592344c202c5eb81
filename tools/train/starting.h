/* starting.h - what a run is told before it begins: that it was started wrongly, or that the recipe
 * will not do what it seems to say. */
#ifndef LONGQLORA_STARTING_H
#define LONGQLORA_STARTING_H

#include "lib/cli/opt.h"
#include "tools/train/trainer.h"

/* A launcher starts the same command many times over, and each would be a whole run: refused,
 * unless ranks is 1. */
void starting_refuse_ranks(int64_t ranks);
/* Keys of recipes that are written like options, as other trainers have them. */
void starting_refuse_keys(int argc, char **argv, const struct opt_program *program);
/* Remembers a key of the recipe that has no meaning here; and tells of them, when it is known that
 * messages go into no input. */
void starting_ignore(const char *key, const char *reason);
void starting_tell_ignored(void);
/* Warns of groups that split nothing, of a warm-up as long as the run, of too few samples. */
void starting_warn(const struct trainer *t);

#endif
