/* own_tokenizer.h - the tokenizer that an adapter's directory brings along. */
#ifndef LONGQLORA_OWN_TOKENIZER_H
#define LONGQLORA_OWN_TOKENIZER_H

#include "lib/llama/weights.h"

/* Were tokens made with the tokenizer of these weights, or with the adapter's own (adapter: a
 * directory, or NULL)? Digests are of the tokenizers' files; one that is unknown ("") is taken to
 * fit. */
bool own_tokenizer_fits(const char *digest, const struct weights *w, const char *adapter);

#endif
