/* run.h - doing what the command line asks for. Used by main.c only.
 */
#ifndef LONGQLORA_RUN_H
#define LONGQLORA_RUN_H

#include "tools/generate/lines.h"
#include "tools/generate/options.h"

/* Dies if there is no tokenizer, before the weights are read. */
void run_find_tokenizer(const struct options *o);

/* The given file or directory's, else the model's, else the adapter's; dies if it does not
 * fit the model. */
struct tokenizer *run_tokenizer(const struct options *o, const struct loaded *l);

/* Dies if there is not the memory for the model and a context of one token: of a directory, where
 * all of it will be read to check the adapter's base, and of a stream (loaded.h; arg: the options),
 * before its weights are read. */
void run_check_early(const struct options *o);
int run_check_outline(void *arg, const struct loaded *outline, struct fail *unused);

/* Prints what memory the whole context would take; the model may be an outline. */
void run_plan(const struct options *o, const struct loaded *l);

/* One prompt, JSON lines, or a conversation; dies of what goes wrong. */
void run(struct generator *g, const struct options *o, struct loaded *l);

/* Writes to standard output, at once. */
int run_say(void *arg, const char *text, size_t bytes, struct fail *why) MUST_USE;

#endif
