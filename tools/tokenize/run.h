/* run.h - turns text files into tokens, and writes them as a stream or as raw token ids, or shows
 * them.
 */
#ifndef LONGQLORA_TOKENIZE_RUN_H
#define LONGQLORA_TOKENIZE_RUN_H

#include "lib/tokenizer/tokenizer.h"
#include "tools/tokenize/options.h"

/* Encodes all files. The list `files` ends with NULL; an empty list means standard input. Prints a
 * report at the end. Dies if something fails. */
void run_encode(const struct options *o, const char **files, const struct tokenizer *t);

#endif
