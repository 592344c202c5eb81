/* vocabulary.h - checks that token ids, or a tokenizer, can be used with a given model, tokenizer
 * or stream: both sides must have the same tokenizer, and the ids must be within the other side's
 * vocabulary.
 *
 *     struct vocabulary tokens = { .tokenizer = info.tokenizer, .ids = ids, .count = n };
 *     struct vocabulary model = { .name = "the model", .tokenizer = digest, .size = rows };
 *     if (vocabulary_check(&tokens, &model, "tokenize the text again", why))
 *         status = fail_in(why, path);
 */
#ifndef LONGQLORA_VOCABULARY_H
#define LONGQLORA_VOCABULARY_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

struct vocabulary {
    const char *name;      /* the model's or the file's, for the error; unused for the tokens */
    const char *tokenizer; /* digest of the tokenizer's file; "" or NULL: unknown */
    /* The size of the vocabulary: the tokenizer's tokens, or the rows of the embedding. 0: unknown,
     * so no id is compared with it. */
    uint64_t size;
    /* [count] the ids that occur. NULL: any id of the vocabulary may occur. Borrowed. */
    const uint32_t *ids;
    size_t count;
};

/* Fails if both tokenizers are known and differ, or if an id of `tokens` is not below other->size.
 * If tokens->ids is NULL, tokens->size is compared instead. The error says what differs, then the
 * advice; the caller puts the name of the tokens before it (fail_in). */
int vocabulary_check(const struct vocabulary *tokens, const struct vocabulary *other,
                     const char *advice, struct fail *why) MUST_USE;

/* True if both digests are known and differ. */
bool vocabulary_differs(const char *digest, const char *other);

#endif
