/* tokenizer.h - BPE, id for id as the reference libraries encode: SentencePiece's
 * tokenizer.model (LLaMA-1, LLaMA-2), and tokenizer.json of Hugging Face's tokenizers with
 * BPE over bytes (LLaMA-3) or characters (LLaMA-2), and the tokens that files beside them add.
 *
 * What a model asks for and is not done here (docs/formats/tokenizer.md lists it) is refused by
 * name when it is loaded, never encoded differently. Special tokens spelled in a text are text,
 * unless the buffer says otherwise; added tokens that are not special are always found.
 */
#ifndef LONGQLORA_TOKENIZER_TOKENIZER_H
#define LONGQLORA_TOKENIZER_TOKENIZER_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKENIZER_MODEL_MAX = 256 << 20,
    TOKENIZER_JSON_MAX = 64 << 20, /* the largest that models have are half of it */
    TOKENIZER_PIECE_MAX = 512,
    TOKENIZER_PIECES_MAX = 1 << 24,
    TOKENIZER_MERGES_MAX = 1 << 24,
    TOKENIZER_HOLES_MAX = 1 << 16, /* numbers below the highest that no piece has */
};

struct tokenizer;

/* The file that a file or directory stands for: itself, or the tokenizer.model in it, or else (or
 * if that is of a kind that is not encoded here) the tokenizer.json. False if there is none; path
 * is then the last one looked for. */
bool tokenizer_locate(const char *place, char *path, size_t size);
/* Of a file, or of a directory that has one. */
int tokenizer_open(struct tokenizer **t, const char *place, struct fail *why) MUST_USE;
/* The same from bytes in memory; name stands in messages. */
int tokenizer_parse(struct tokenizer **t, const void *model, size_t bytes, const char *name,
                    struct fail *why) MUST_USE;
void tokenizer_close(struct tokenizer *t);
/* What a user should know who makes tokens with it: that other programs make others of its files.
 * puts_begin: texts are to begin with what the files put there. NULL: nothing. */
const char *tokenizer_remark(const struct tokenizer *t, bool puts_begin);

uint32_t tokenizer_vocab(const struct tokenizer *t);  /* with added tokens */
uint32_t tokenizer_pieces(const struct tokenizer *t); /* without those that are not the model's */
/* What the files call BOS and EOS; UINT32_MAX if the model has none. */
uint32_t tokenizer_bos(const struct tokenizer *t);
uint32_t tokenizer_eos(const struct tokenizer *t);
/* What they put before and behind a text (post_processor, add_bos_token, add_eos_token);
 * UINT32_MAX: nothing. */
uint32_t tokenizer_begin(const struct tokenizer *t);
uint32_t tokenizer_end(const struct tokenizer *t);
/* The id of a control piece or added token; UINT32_MAX if there is none of that name. */
uint32_t tokenizer_special(const struct tokenizer *t, const char *name);
/* The name of a control piece or special token, which is not ended by a zero; NULL: a piece of
 * text.
 */
const char *tokenizer_control(const struct tokenizer *t, uint32_t id, size_t *bytes);
const char *tokenizer_digest(const struct tokenizer *t); /* XXH3-128 of the model file, hex */

/* One thread's working memory. Zero it, use it again and again, release it. */
struct token_buffer {
    uint32_t *ids;
    size_t count, capacity;
    bool parses_special; /* special tokens that a text spells are tokens */
    uint64_t dropped;    /* counted: characters (or bytes) without a piece, which gave nothing */
    struct token_work *work;
};
void token_buffer_release(struct token_buffer *b);
int token_buffer_add(struct token_buffer *b, const uint32_t *ids, size_t count,
                     struct fail *why) MUST_USE;

/* Appends the ids of valid UTF-8 text to b; no BOS, no EOS. Time n log n at worst. */
int tokenizer_encode(const struct tokenizer *t, struct token_buffer *b, const char *text,
                     size_t bytes, struct fail *why) MUST_USE;

/* The same of a text that stands behind a special token in what is encoded. Whether a space is put
 * before it there is what the reference libraries differ in (prefix.c). */
int tokenizer_encode_after(const struct tokenizer *t, struct token_buffer *b, const char *text,
                           size_t bytes, struct fail *why) MUST_USE;
/* Is a space put before this text, at the beginning or behind a special token? */
bool tokenizer_puts_space(const struct tokenizer *t, const char *text, size_t bytes, bool is_after);

/* The text of ids, as the reference decodes; the caller frees. Control pieces are
 * nothing. NULL on failure. */
char *tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, size_t *bytes,
                       struct fail *why);

#endif
