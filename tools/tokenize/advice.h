/* advice.h - what may have been meant with a line that is no JSON, or has no text. */
#ifndef LONGQLORA_ADVICE_H
#define LONGQLORA_ADVICE_H

#include "lib/common/json_advice.h"

/* To be put after the reason, "" where that says nothing of an encoding. may_mend: --on-error
 * replace is there for it. */
void advice_encoding(const char *reason, bool may_mend, char *advice, size_t size);

/* To be put after "no string 'text'", or what a parser says: a conversation, another key, a value
 * of another kind, no JSON at all. "" where the line gives no hint. */
void advice_line(const char *line, size_t bytes, const char *text_key, enum json_place place,
                 char *advice, size_t size);

#endif
