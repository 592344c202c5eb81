/* text.h - a text to which more can be appended.
 */
#ifndef LONGQLORA_NEEDLE_TEXT_H
#define LONGQLORA_NEEDLE_TEXT_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>

/* The caller sets it to zero before the first use and calls free(t.at) after the last. A NUL
 * follows the text. */
struct text {
    char *at;
    size_t bytes, capacity;
};

/* Appends bytes, or with text_add_word a C string. */
int text_add(struct text *t, const char *more, size_t bytes, struct fail *why) MUST_USE;
int text_add_word(struct text *t, const char *word, struct fail *why) MUST_USE;

static inline bool text_is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* A name in braces and the text that takes its place. */
struct text_value {
    const char *name, *value;
};
/* Appends a wording. In it {name} is replaced by the value of that name, {{ by { and }} by }, as in
 * Python's str.format. The last of `values` has a NULL name. Fails if a name in braces has no
 * value. */
int text_add_wording(struct text *t, const char *wording, const struct text_value *values,
                     struct fail *why) MUST_USE;

#endif
