/* own_tokenizer.h - compares tokenizers when an adapter's directory has a tokenizer of its own. */
#ifndef LONGQLORA_OWN_TOKENIZER_H
#define LONGQLORA_OWN_TOKENIZER_H

#include "lib/llama/weights.h"

/* Were tokens made with the tokenizer of these weights, or with the adapter's own? digest: of the
 * tokenizer's file with which the tokens were made. adapter: a directory, or NULL. An unknown
 * digest ("") counts as the same. */
bool own_tokenizer_fits(const char *digest, const struct weights *w, const char *adapter);

#endif
