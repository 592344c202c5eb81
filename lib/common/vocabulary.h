/* vocabulary.h - the check that tokens, or a tokenizer, go with a model, a tokenizer or a stream.
 *
 * An id means the same to both sides if both have the same tokenizer, and it has a meaning at all
 * if the other side's vocabulary reaches that far.
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
    /* How many ids have a meaning: the tokenizer's tokens, or the rows of the embedding. 0:
     * unknown, and nothing is compared with it. */
    uint64_t size;
    /* The ids that are used. NULL: all of the vocabulary may be. Borrowed. */
    const uint32_t *ids;
    size_t count;
};

/* Fails if both tokenizers are known and differ, or if one of the tokens (without ids: of the
 * tokens' whole vocabulary) is beyond the other's size. The error says what differs, then the
 * advice, and the caller puts the name of the tokens before it (fail_in). */
int vocabulary_check(const struct vocabulary *tokens, const struct vocabulary *other,
                     const char *advice, struct fail *why) MUST_USE;

/* True if both digests are known and differ. */
bool vocabulary_differs(const char *digest, const char *other);

#endif
