/* chat_template_internal.h - what the files of chat templates share. */
#ifndef LONGQLORA_TOKENIZER_CHAT_TEMPLATE_INTERNAL_H
#define LONGQLORA_TOKENIZER_CHAT_TEMPLATE_INTERNAL_H

#include "lib/tokenizer/chat_template.h"

/* Of what white space is taken away, as Python's str.strip does. */
enum {
    STRIP_SYSTEM = 1,
    STRIP_PROMPT = 2,
    STRIP_ANSWER = 4,
    STRIP_TURN =
        8, /* of the system's sentence with what is around it and the prompt, as one text */
};

/* Where a published text differs from the wording that it is otherwise; NULL: as the wording. */
struct chat_changes {
    const char *begin, *system, *finish;
};

/* The JSON text of a built-in template; NULL if there is none of that name. */
const char *chat_builtin(const char *name);
/* The one that may have been meant; NULL: none. */
const char *chat_builtin_nearest(const char *name);

/* chat_template_open with changes to a built-in template, or NULL. */
int chat_template_open_changed(struct chat_template *t, const char *name,
                               const struct chat_changes *changes,
                               const struct tokenizer *tokenizer, struct fail *why) MUST_USE;

#endif
