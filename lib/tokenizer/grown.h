/* grown.h - adds tokens to a tokenizer and to its files, as add_tokens and add_special_tokens of
 * transformers do.
 *
 * A token that is a piece of the vocabulary keeps the piece's id; any other gets the next free id,
 * in the order of the list. Only the entries for the new tokens change in the files: added_tokens
 * of tokenizer.json, added_tokens_decoder of tokenizer_config.json, added_tokens.json, and the list
 * of extra special tokens. docs/formats/tokenizer.md says which files get what.
 *
 *     tokenizer_open(&t, directory, why)
 *     grown_add(t, tokens, count, why)
 *     grown_write(t, tokens, count, &files, why)     files: the texts of the directory's files
 *     ... write the files to another directory, open it as u ...
 *     grown_compare(t, u, why)
 */
#ifndef LONGQLORA_TOKENIZER_GROWN_H
#define LONGQLORA_TOKENIZER_GROWN_H

#include "lib/tokenizer/tokenizer.h"

/* What a token was before it was added. */
enum grown_before { GROWN_NOTHING, GROWN_PIECE, GROWN_ADDED };

struct grown_token {
    const char *content; /* borrowed; not empty, UTF-8 */
    bool is_special;
    /* results of grown_add */
    enum grown_before before;
    uint32_t id;
};

/* The files of a tokenizer that say which tokens are added. */
enum grown_file { GROWN_JSON, GROWN_CONFIG, GROWN_MAP, GROWN_LIST, GROWN_FILES };
struct grown_files {
    char *text[GROWN_FILES]; /* from malloc; NULL if the file does not exist */
    size_t bytes[GROWN_FILES];
};
const char *grown_file_name(enum grown_file file);
void grown_files_release(struct grown_files *f);

/* Adds the tokens to the tokenizer in memory. Fails for a text that cannot be a token, and for an
 * added token that already exists with another value of is_special. */
int grown_add(struct tokenizer *t, struct grown_token *tokens, size_t count,
              struct fail *why) MUST_USE;
/* Adds the tokens to the files. Files that did not exist may be created. */
int grown_write(const struct tokenizer *t, const struct grown_token *tokens, size_t count,
                struct grown_files *f, struct fail *why) MUST_USE;
/* Fails unless the tokenizer that was read back has the same added tokens, the same ids, and the
 * same tokens before and after a text.
 */
int grown_compare(const struct tokenizer *t, const struct tokenizer *back,
                  struct fail *why) MUST_USE;

/* Fails unless each normal piece of `base` has the same id in the grown tokenizer. */
int grown_check_base(const struct tokenizer *grown, const struct tokenizer *base,
                     struct fail *why) MUST_USE;

#endif
