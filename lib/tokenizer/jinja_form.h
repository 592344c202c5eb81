/* jinja_form.h - normalises a Jinja text by removing white space that has no effect. */
#ifndef LONGQLORA_TOKENIZER_JINJA_FORM_H
#define LONGQLORA_TOKENIZER_JINJA_FORM_H

#include "lib/common/fail.h"

#include <stddef.h>

enum { JINJA_TEXT_MAX = 1 << 20 };

/* Returns the normal form, which the caller frees. Two texts with the same form give the same
 * output under transformers' settings (trim_blocks and lstrip_blocks). The form has no comments, no
 * white space inside tags (except in strings), no white space around tags that Jinja would remove,
 * and no signs - and +, which control such white space. A newline in a string equals its escape \n.
 * Returns NULL if memory runs out, or if the text cannot be normalised because a tag has no end or
 * is a raw block.
 *
 * Source: Jinja's template designer documentation, "Whitespace Control".
 */
char *jinja_form(const char *text, size_t bytes, struct fail *why);

#endif
