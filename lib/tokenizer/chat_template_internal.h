/* chat_template_internal.h - what chat_template.c, chat_prompt.c and chat_builtin.c share. */
#ifndef LONGQLORA_TOKENIZER_CHAT_TEMPLATE_INTERNAL_H
#define LONGQLORA_TOKENIZER_CHAT_TEMPLATE_INTERNAL_H

#include "lib/tokenizer/chat_template.h"

/* Where the template strips white space, as Python's str.strip does. */
enum {
    STRIP_SYSTEM = 1,
    STRIP_PROMPT = 2,
    STRIP_ANSWER = 4,
    STRIP_TURN = 8, /* of the system prompt, the text around it and the prompt, taken as one text */
};

/* The parts in which a published text differs from a built-in template; NULL where it does not. */
struct chat_changes {
    const char *begin, *system, *finish;
};

/* The JSON text of a built-in template; NULL if there is none of that name. */
const char *chat_builtin(const char *name);
/* The built-in name that was probably meant; NULL if none is near. */
const char *chat_builtin_nearest(const char *name);

/* Like chat_template_open, with changes to a built-in template; changes may be NULL. */
int chat_template_open_changed(struct chat_template *t, const char *name,
                               const struct chat_changes *changes,
                               const struct tokenizer *tokenizer, struct fail *why) MUST_USE;

#endif
