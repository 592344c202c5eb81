/* text.h - a text that grows.
 */
#ifndef LONGQLORA_NEEDLE_TEXT_H
#define LONGQLORA_NEEDLE_TEXT_H

#include "lib/common/fail.h"

#include <stddef.h>

/* Zero it before the first use; free(t.at) after the last. A NUL follows the text. */
struct text {
    char *at;
    size_t bytes, capacity;
};

int text_add(struct text *t, const char *more, size_t bytes, struct fail *why) MUST_USE;
int text_add_word(struct text *t, const char *word, struct fail *why) MUST_USE;

/* A name in braces and the text that takes its place. */
struct text_value {
    const char *name, *value;
};
/* Appends a wording, in which {name} stands for the value of that name, {{ for { and }} for }, as
 * in Python's str.format. The values end with a NULL name. Fails if a name is not among them. */
int text_add_wording(struct text *t, const char *wording, const struct text_value *values,
                     struct fail *why) MUST_USE;

#endif
