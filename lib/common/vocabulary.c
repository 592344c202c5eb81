#include "lib/common/vocabulary.h"

bool vocabulary_differs(const char *digest, const char *other)
{
    return digest && other && *digest && *other && strcmp(digest, other) != 0;
}

int vocabulary_check(const struct vocabulary *tokens, const struct vocabulary *other,
                     const char *advice, struct fail *why)
{
    unsigned long long size = other->size;
    if (vocabulary_differs(tokens->tokenizer, other->tokenizer))
        return fail_input(why, "its tokenizer is %s, but that of %s is %s: %s", tokens->tokenizer,
                          other->name, other->tokenizer, advice);
    if (!size) return 0;
    if (!tokens->ids && tokens->size > size)
        return fail_input(why, "its vocabulary has %llu tokens, but that of %s has %llu: %s",
                          (unsigned long long)tokens->size, other->name, size, advice);
    for (size_t i = 0; tokens->ids && i < tokens->count; i++)
        if (tokens->ids[i] >= size)
            return fail_input(why,
                              "token %zu is %u, but the vocabulary of %s has only %llu tokens: %s",
                              i, tokens->ids[i], other->name, size, advice);
    return 0;
}
