/* suffix.h - the end of a text. */
#ifndef LONGQLORA_SUFFIX_H
#define LONGQLORA_SUFFIX_H

#include <stdbool.h>
#include <string.h>

/* Does `text` end with `end`, or are both the same? */
static inline bool suffix_is(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

#endif
