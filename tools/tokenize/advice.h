/* advice.h - what may have been meant with a JSON line that has no text at the key. */
#ifndef LONGQLORA_ADVICE_H
#define LONGQLORA_ADVICE_H

#include <stddef.h>

/* To be put after "no string 'text'": a conversation, another key, a value of another kind. ""
 * where the line gives no hint, or is no JSON object. */
void advise_line(const char *line, size_t bytes, const char *text_key, char *advice, size_t size);

#endif
