/* jinja_form.h - a Jinja text without the white space that means nothing. */
#ifndef LONGQLORA_TOKENIZER_JINJA_FORM_H
#define LONGQLORA_TOKENIZER_JINJA_FORM_H

#include "lib/common/fail.h"

#include <stddef.h>

enum { JINJA_TEXT_MAX = 1 << 20 };

/* Two texts with one form render the same, as transformers renders a chat_template (trim_blocks and
 * lstrip_blocks are set): what is left out is white space inside tags but not in their strings,
 * white space around tags that Jinja takes away, marks that ask for that, and comments. A newline
 * in a string and \n are one. NULL: memory is out, or it is not such a text (a tag without an end,
 * or one whose inside is no Jinja: raw). The caller frees. */
char *jinja_form(const char *text, size_t bytes, struct fail *why);

#endif
