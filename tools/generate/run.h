/* run.h - does what the command line asks for. Only main.c includes it.
 */
#ifndef LONGQLORA_RUN_H
#define LONGQLORA_RUN_H

#include "tools/generate/lines.h"
#include "tools/generate/options.h"

/* Dies if there is no tokenizer. Called before the weights are read. */
void run_find_tokenizer(const struct options *o);

/* Opens the tokenizer that --tokenizer names, or else the adapter's, or else the model's. Dies if
 * it does not fit the model. */
struct tokenizer *run_tokenizer(const struct options *o, const struct loaded *l);

/* Prints how much memory the whole context needs. The model's weights need not be loaded. */
void run_plan(const struct options *o, const struct loaded *l);

/* Answers one prompt, answers JSON lines, or holds a conversation. Dies if something fails. */
void run(struct generator *g, const struct options *o, struct loaded *l);

/* Writes to standard output without buffering. */
int run_emit(void *arg, const char *text, size_t bytes, struct fail *why) MUST_USE;

#endif
