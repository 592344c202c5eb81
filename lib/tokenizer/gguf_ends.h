/* gguf_ends.h - the tokens of a GGUF file at which llama.cpp ends an answer: those of three keys,
 * and those with certain names.
 *
 * llama.cpp also counts the tokens <|fim_pad|>, <|repo_name|>, <|file_sep|> and the like, which
 * separate files of code. They are no ends here, because models do not list them as eos_token_id.
 * A piece of the vocabulary with one of the names is no end here either, only an added token.
 *
 * Source: special_eog_ids in llama-vocab.cpp of llama.cpp (build b10488).
 */
#ifndef LONGQLORA_TOKENIZER_GGUF_ENDS_H
#define LONGQLORA_TOKENIZER_GGUF_ENDS_H

#include "lib/tokenizer/end_tokens.h"
#include "lib/tokenizer/gguf_tokenizer.h"

enum { GGUF_END_NAMES = 22 };

/* The tokens of a file that have names of ends. */
struct gguf_ends {
    uint32_t ids[GGUF_END_NAMES]; /* UINT32_MAX: no token has this name */
};

void gguf_ends_init(struct gguf_ends *n);
/* Looks at one token of the file. Call it for each. */
void gguf_ends_look(struct gguf_ends *n, uint32_t id, enum gguf_token_type type,
                    struct gguf_text text);
/* Has this token a name at which llama.cpp ends an answer? */
bool gguf_ends_by_name(const struct gguf_ends *n, uint32_t id);
/* Has it the name of a token that ends a turn of a conversation, such as <|im_end|>? */
bool gguf_ends_turn(const struct gguf_ends *n, uint32_t id);
/* Does llama.cpp go on at this token even if a key names it? It does so at <|end|> and </s> if the
 * file has certain other tokens. */
bool gguf_ends_never(const struct gguf_ends *n, uint32_t id);

/* Reads the end tokens of a file. That of tokenizer.ggml.eos_token_id comes first. */
int gguf_ends_read(struct end_tokens *e, const struct gguf *g, struct fail *why) MUST_USE;

#endif
