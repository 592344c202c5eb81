/* gguf_tokenizer.h - turns the tokenizer of a GGUF file into the files that the model's own folder
 * would have.
 *
 * The keys tokenizer.ggml.* are turned into the text of a tokenizer.json and of a
 * tokenizer_config.json. The tokenizer is parsed from these texts, and the same texts are written
 * beside a merged model. So the tokenizers of the GGUF and of the merged model have the same
 * digest. docs/formats/gguf.md has the keys.
 *
 * A tokenizer.ggml.model of "gpt2" is BPE over bytes: tokenizer.ggml.pre names the pre-tokenizer,
 * whose pattern is that of the models' own tokenizer.json (gguf_pre.c). "llama" is SentencePiece's
 * BPE: the merges are computed from the scores as transformers does (gguf_merges.c).
 */
#ifndef LONGQLORA_TOKENIZER_GGUF_TOKENIZER_H
#define LONGQLORA_TOKENIZER_GGUF_TOKENIZER_H

#include "lib/common/digest.h"
#include "lib/tensorfile/gguf.h"
#include "lib/tokenizer/tokenizer.h"

#include <jansson.h>

/* The types in tokenizer.ggml.token_type; they are those of SentencePiece. */
enum gguf_token_type {
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN,
    GGUF_TOKEN_CONTROL,
    GGUF_TOKEN_USER,
    GGUF_TOKEN_UNUSED,
    GGUF_TOKEN_BYTE,
};

#define GGUF_KEY_TOKENIZER "tokenizer.ggml.model"
#define GGUF_KEY_PRE "tokenizer.ggml.pre"
#define GGUF_KEY_TOKENS "tokenizer.ggml.tokens"
#define GGUF_KEY_TOKEN_TYPES "tokenizer.ggml.token_type"
#define GGUF_KEY_SCORES "tokenizer.ggml.scores"
#define GGUF_KEY_MERGES "tokenizer.ggml.merges"
#define GGUF_KEY_BOS "tokenizer.ggml.bos_token_id"
#define GGUF_KEY_EOS "tokenizer.ggml.eos_token_id"
#define GGUF_KEY_EOT "tokenizer.ggml.eot_token_id"
#define GGUF_KEY_EOM "tokenizer.ggml.eom_token_id"
#define GGUF_KEY_UNKNOWN "tokenizer.ggml.unknown_token_id"
#define GGUF_KEY_PADDING "tokenizer.ggml.padding_token_id"
#define GGUF_KEY_ADD_BOS "tokenizer.ggml.add_bos_token"
#define GGUF_KEY_ADD_EOS "tokenizer.ggml.add_eos_token"
#define GGUF_KEY_ADD_SPACE "tokenizer.ggml.add_space_prefix"
#define GGUF_KEY_CHAT_TEMPLATE "tokenizer.chat_template"

struct gguf_tokenizer {
    char *json; /* tokenizer.json */
    size_t bytes;
    json_t *config; /* tokenizer_config.json */
};
/* Makes both texts; the caller calls gguf_tokenizer_release. Fails if the file has no tokenizer, or
 * one that is not supported. Messages name the key, not the file. */
int gguf_tokenizer_make(struct gguf_tokenizer *out, const struct gguf *g,
                        struct fail *why) MUST_USE;
void gguf_tokenizer_release(struct gguf_tokenizer *made);

/* Opens the tokenizer of the GGUF at `path`; see tokenizer_open. */
int gguf_tokenizer_open(struct tokenizer **t, const char *path, struct fail *why) MUST_USE;
/* Writes the digest of the file's tokenizer, or "" if it has none or an unsupported one. A missing
 * tokenizer is no error, because the weights can be used with a tokenizer from elsewhere. */
int gguf_tokenizer_digest(const struct gguf *g, char digest[DIGEST_TEXT],
                          struct fail *why) MUST_USE;

#endif
