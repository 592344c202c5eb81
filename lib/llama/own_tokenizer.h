/* own_tokenizer.h - checks that tokens were made with the model's tokenizer, or with the tokenizer
 * in the adapter's directory. */
#ifndef LONGQLORA_OWN_TOKENIZER_H
#define LONGQLORA_OWN_TOKENIZER_H

#include "lib/common/vocabulary.h"
#include "lib/llama/weights.h"

/* The advice in errors about tokens that were made with another tokenizer than the model's. */
#define OWN_TOKENIZER_ADVICE                                                                       \
    "tokenize the text with the model's own tokenizer, or give the model that of the text "        \
    "(quantize "                                                                                   \
    "or merge, --resize-vocab)"

/* Does the adapter's directory have a tokenizer with this digest? If so, path[size] gets the name
 * of its file. adapter: NULL if there is none. */
bool own_tokenizer_is(const char *adapter, const char *digest, char *path, size_t size);

/* Calls vocabulary_check for the tokens and the weights, whose embedding has `rows` rows. If rows
 * is 0, only the tokenizers are compared. Tokens made with the adapter's own tokenizer are accepted
 * too. */
int own_tokenizer_check(const struct vocabulary *tokens, const struct weights *w, int64_t rows,
                        const char *adapter, struct fail *why) MUST_USE;

#endif
