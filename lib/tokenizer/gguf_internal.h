/* gguf_internal.h - shared by the files gguf_*.c, which read the tokenizer of a GGUF file. */
#ifndef LONGQLORA_TOKENIZER_GGUF_INTERNAL_H
#define LONGQLORA_TOKENIZER_GGUF_INTERNAL_H

#include "lib/tokenizer/gguf_tokenizer.h"

struct gguf_token {
    struct gguf_text text;
    float score;
    enum gguf_token_type type;
    /* The type by which it is found in a text; it differs from `type` if llama.cpp judges by the
     * name (gguf_control.c). */
    enum gguf_token_type found_as;
};

struct gguf_tokens {
    struct gguf_token *at;
    uint32_t *sorted; /* the ids, sorted by their tokens' texts */
    uint32_t count;
    bool has_scores; /* false: the key is missing, and all scores are 0 */
};

/* Fails if the file has an unknown key of a tokenizer, or one that is not supported. */
int gguf_check_tokenizer_keys(const struct gguf *g, struct fail *why) MUST_USE;
/* Reads the tokens into a zeroed *tokens, which the caller releases, also after a failure. */
int gguf_tokens_read(struct gguf_tokens *tokens, const struct gguf *g, struct fail *why) MUST_USE;
/* Sets found_as of tokens with certain names. Fails if llama.cpp's choice cannot be known. */
int gguf_tokens_find_control(struct gguf_tokens *tokens, const struct gguf *g,
                             struct fail *why) MUST_USE;
void gguf_tokens_release(struct gguf_tokens *tokens);

/* The pre-tokenizer that tokenizer.ggml.pre names. */
struct gguf_pre {
    const char *name;
    const char *normalizer, *pre_tokenizer; /* JSON */
    bool ignores_merges, adds_bos;          /* adds_bos: the default value of add_bos_token */
};
/* Returns the pre-tokenizer of that name, or NULL with *why if the name is not known. */
const struct gguf_pre *gguf_pre_find(struct gguf_text name, struct fail *why);

/* Returns row i of the table, or NULL after the last row. */
const struct gguf_pre *gguf_pre_at(size_t i);

/* When does llama.cpp let added tokens take the white space that follows them (gguf_name.c)?
 * gguf_name_strips: does the model's name ask for that? gguf_tokens_strip: does the name ask for
 * it, and does the file have all tokens that llama.cpp then looks up? gguf_token_strips: if so,
 * does this added token take white space? */
bool gguf_name_strips(struct gguf_text name);
bool gguf_tokens_strip(const struct gguf_tokens *tokens, struct gguf_text name);
bool gguf_token_strips(struct gguf_text token);

/* The text of a tokenizer.json while it is made. It ends with a NUL, unless memory ran out. */
struct gguf_json {
    char *at;
    size_t used, capacity;
    bool is_lost; /* memory ran out, so the text is incomplete */
};
void gguf_json_put(struct gguf_json *to, const char *text);
PRINTF_LIKE(2, 3) void gguf_json_format(struct gguf_json *to, const char *format, ...);
/* Writes a JSON string, with its quotes. */
void gguf_json_text(struct gguf_json *to, struct gguf_text text);
/* Writes the list of merges that the scores of a SentencePiece model give. */
int gguf_put_score_merges(struct gguf_json *to, const struct gguf_tokens *tokens,
                          struct fail *why) MUST_USE;
/* Returns the id of the token with this text; UINT32_MAX if there is none. */
uint32_t gguf_token_find(const struct gguf_tokens *tokens, struct gguf_text text);

#endif
