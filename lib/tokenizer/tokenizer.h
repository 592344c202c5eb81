/* tokenizer.h - a BPE tokenizer that gives the same ids as the reference libraries. It reads
 * SentencePiece's tokenizer.model (LLaMA-1, LLaMA-2), Hugging Face's tokenizer.json with BPE over
 * bytes (LLaMA-3) or over characters (LLaMA-2), and the added tokens of other files in the same
 * folder. It also reads the tokenizer of a GGUF file.
 *
 * A model that needs an unsupported feature is refused when it is loaded, and the message names the
 * feature (docs/formats/tokenizer.md lists what is supported). The text of a special token stays
 * text, unless the buffer's parses_special is set. Added tokens that are not special are always
 * found.
 *
 * Sources: SentencePiece 0.2.3, tokenizers 0.23.3, transformers 5.24.
 *
 *     struct tokenizer *t;
 *     struct token_buffer b = { 0 };
 *     if (tokenizer_open(&t, directory, why)) return -1;
 *     status = tokenizer_encode(t, &b, text, bytes, why);      ids are b.ids[0 .. b.count)
 *     token_buffer_release(&b);
 *     tokenizer_close(t);
 */
#ifndef LONGQLORA_TOKENIZER_TOKENIZER_H
#define LONGQLORA_TOKENIZER_TOKENIZER_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKENIZER_MODEL_MAX = 256 << 20,
    TOKENIZER_JSON_MAX = 64 << 20, /* bytes; twice the size of the largest known tokenizer.json */
    TOKENIZER_PIECE_MAX = 512,
    TOKENIZER_PIECES_MAX = 1 << 24,
    TOKENIZER_MERGES_MAX = 1 << 24,
    TOKENIZER_HOLES_MAX = 1 << 16, /* how many numbers below the highest id may be unused */
};

struct tokenizer;

/* Finds the tokenizer's file. That is `place` itself if it is a file. In a directory it is
 * tokenizer.model, or tokenizer.json if tokenizer.model is missing or of an unsupported kind.
 * Returns false if there is none; `path` is then the last name that was tried. */
bool tokenizer_locate(const char *place, char *path, size_t size);
/* Opens a tokenizer's file, or the one in a directory. The caller calls tokenizer_close. */
int tokenizer_open(struct tokenizer **t, const char *place, struct fail *why) MUST_USE;
/* Like tokenizer_open, from bytes in memory. `name` is used in messages. */
int tokenizer_parse(struct tokenizer **t, const void *model, size_t bytes, const char *name,
                    struct fail *why) MUST_USE;
void tokenizer_close(struct tokenizer *t);
/* Returns a remark for a user who makes tokens, if other programs make other tokens with these
 * files; otherwise NULL. puts_begin: the caller puts the id tokenizer_begin before texts. */
const char *tokenizer_remark(const struct tokenizer *t, bool puts_begin);

uint32_t tokenizer_vocab(const struct tokenizer *t); /* number of ids, including added tokens */
/* Number of ids in the model's own vocabulary, which may contain added tokens. */
uint32_t tokenizer_pieces(const struct tokenizer *t);
/* The ids of BOS and EOS; UINT32_MAX if the model has none. */
uint32_t tokenizer_bos(const struct tokenizer *t);
uint32_t tokenizer_eos(const struct tokenizer *t);
/* The ids that stand before and after a text according to the files (post_processor, add_bos_token,
 * add_eos_token); UINT32_MAX if there are none. */
uint32_t tokenizer_begin(const struct tokenizer *t);
uint32_t tokenizer_end(const struct tokenizer *t);
/* The id of a control piece or an added token; UINT32_MAX if there is none of that name. */
uint32_t tokenizer_special(const struct tokenizer *t, const char *name);
/* Which white space beside an added token in a text becomes part of the token (lstrip, rstrip). */
enum token_spaces { TOKEN_TAKES_LEFT = 1, TOKEN_TAKES_RIGHT = 2 };
unsigned tokenizer_special_spaces(const struct tokenizer *t, uint32_t id);
/* Returns the name of a control piece or special token, which has *bytes bytes and no terminating
 * NUL. Returns NULL if the id is ordinary text. */
const char *tokenizer_control(const struct tokenizer *t, uint32_t id, size_t *bytes);
/* XXH3-128 of the model file, in hexadecimal */
const char *tokenizer_digest(const struct tokenizer *t);

/* The result and working memory of one thread. Zero it before the first use; it can be reused;
 * release it after the last. */
struct token_buffer {
    uint32_t *ids;
    size_t count, capacity;
    bool parses_special; /* the text of a special token becomes that token */
    uint64_t dropped;    /* how many characters (or bytes) had no piece and gave no id */
    struct token_work *work;
};
/* Frees the buffer's memory. */
void token_buffer_release(struct token_buffer *b);
/* Appends ids. */
int token_buffer_add(struct token_buffer *b, const uint32_t *ids, size_t count,
                     struct fail *why) MUST_USE;

/* Appends the ids of valid UTF-8 text to *b, without BOS and EOS. Takes time O(n log n) at
 * worst. */
int tokenizer_encode(const struct tokenizer *t, struct token_buffer *b, const char *text,
                     size_t bytes, struct fail *why) MUST_USE;

/* Like tokenizer_encode, for text that follows a special token. The reference libraries differ in
 * whether they put a space before such text; see prefix.c. */
int tokenizer_encode_after(const struct tokenizer *t, struct token_buffer *b, const char *text,
                           size_t bytes, struct fail *why) MUST_USE;
/* Does the tokenizer put a space before this text? is_after: the text follows a special token;
 * otherwise the text begins the input. */
bool tokenizer_puts_space(const struct tokenizer *t, const char *text, size_t bytes, bool is_after);

/* Computes how many bytes this text has in the normalization form in which the tokenizer encodes
 * it. */
int tokenizer_normal_bytes(const struct tokenizer *t, const char *text, size_t bytes,
                           size_t *normal, struct fail *why) MUST_USE;

/* Returns the text of the ids, *bytes long, decoded as the reference does; the caller frees it.
 * Control pieces give no text. NULL on failure. */
char *tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, size_t *bytes,
                       struct fail *why);
/* Decoded text may hold bytes s[n] that do not begin with a valid character. Returns how many of
 * them become one U+FFFD in the reference: with ByteLevel a maximal subpart, otherwise one byte. */
size_t tokenizer_invalid(const struct tokenizer *t, const char *s, size_t n);

#endif
