/* advice.h - what may have been meant with a file that is no JSON lines, or a line without text. */
#ifndef LONGQLORA_ADVICE_H
#define LONGQLORA_ADVICE_H

#include <stdbool.h>
#include <stddef.h>

/* Of a file whose first line is not even the beginning of an object, and which is of no other kind
 * (file_kind.h): what it may be instead. False if nothing comes to mind. */
bool advise_file(const char *line, size_t bytes, char *advice, size_t size);

/* Of the first record of a file of conversations, which is no JSON: a table, plain text, or an
 * object over many lines. */
void advise_chat(const char *line, size_t bytes, char *advice, size_t size);

/* To be put after "no string 'text'": a conversation, another key, a value of another kind. ""
 * where the line gives no hint, or is no JSON object. */
void advise_line(const char *line, size_t bytes, const char *text_key, char *advice, size_t size);

#endif
