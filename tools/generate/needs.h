/* needs.h - how much memory the model needs for a context, and how long a context fits.
 */
#ifndef LONGQLORA_GENERATE_NEEDS_H
#define LONGQLORA_GENERATE_NEEDS_H

#include "tools/generate/options.h"

/* Returns the setup of a session of this context, which all ranks share. */
struct model_setup needs_set_up(const struct options *o, int64_t context);
/* Returns the value of --context, or else the model's context. */
int64_t needs_context(const struct options *o, const struct loaded *l);

/* Both functions die if the memory is too small for the model and a context of one token, unless
 * --dry-run is given. needs_check_early checks a model directory or a GGUF file. It does so only
 * with an adapter, because comparing the weights with the adapter's base may read all of them,
 * which takes long. needs_check_outline is a callback of loaded.h, called before a stream's or a
 * GGUF's data take memory; `arg` points to the options. */
void needs_check_early(const struct options *o);
int needs_check_outline(void *arg, const struct loaded *outline, struct fail *unused);

/* Prints the plan of --dry-run. */
void needs_print(const struct options *o, const struct loaded *l, int64_t context);
/* Shortens a context for which --context does not ask, so that it fits in memory. A tenth of the
 * memory is left to other programs. */
int64_t needs_shorten(const struct options *o, const struct loaded *l, int64_t context);
/* Dies if the memory is too small for this context, or if the ranks cannot share the model. */
void needs_check(const struct options *o, const struct loaded *l, int64_t context);

#endif
