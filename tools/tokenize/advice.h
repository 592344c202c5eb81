/* advice.h - guesses what the user meant by a line that is not JSON or has no text.
 */
#ifndef LONGQLORA_ADVICE_H
#define LONGQLORA_ADVICE_H

#include "lib/common/json_advice.h"

/* Writes advice to append to `reason`, or "" if the reason is not the encoding. may_mend:
 * --on-error replace can repair the text. */
void advice_encoding(const char *reason, bool may_mend, char *advice, size_t size);

/* Writes advice to append to "no string 'text'" or to a parser's message. The advice says what the
 * line probably is: a conversation, an object with another key or another type of value, or no JSON
 * at all. It is "" if the line gives no hint. */
void advice_line(const char *line, size_t bytes, const char *text_key, enum json_place place,
                 char *advice, size_t size);

#endif
