/* run.h - text files become tokens: written as a stream, as bare numbers, or shown. */
#ifndef LONGQLORA_TOKENIZE_RUN_H
#define LONGQLORA_TOKENIZE_RUN_H

#include "lib/tokenizer/tokenizer.h"
#include "tools/tokenize/options.h"

/* files: NULL at the end; none: standard input. Reports at the end, and dies of what goes wrong. */
void run_encode(const struct options *o, const char **files, const struct tokenizer *t);

#endif
