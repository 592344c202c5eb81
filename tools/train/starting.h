/* starting.h - errors and warnings before a run begins: the program was started in a wrong way, or
 * the recipe does not do what it seems to say.
 */
#ifndef LONGQLORA_STARTING_H
#define LONGQLORA_STARTING_H

#include "lib/cli/opt.h"
#include "tools/train/trainer.h"

/* Dies if a key of recipes is written as an option, as other trainers do. */
void starting_refuse_keys(int argc, char **argv, const struct opt_program *program);
/* Reads the recipe, the first operand, and the KEY=VALUE that follow, and opens the adapter that it
 * names. Dies if they are not valid, and prints every faulty key first if tells_faults, which is
 * true on one of several ranks only. starting_tell_ignored prints later which keys have no meaning
 * here, and what missing keys mean, once it is known that messages do not go to a file that the run
 * reads. */
void starting_read_recipe(struct recipe *r, struct adapter *a, const char **operands,
                          bool plan_only, bool tells_faults);
void starting_tell_ignored(void);
/* Warns of settings that probably do not do what was meant, for example S2-Attn groups that are
 * longer than the samples, a warm-up as long as the run, or too few samples. */
void starting_warn(const struct trainer *t);
/* Says what `rope: auto` chose, and warns if measurements of real models suggest another recipe:
 * linear position scaling with a large theta or with few training tokens, plain text for a chat
 * model, or S2-Attn, because full attention takes no more memory. */
void starting_remark(const struct trainer *t);

#endif
