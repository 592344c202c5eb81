/* chat_template_internal.h - what chat_template.c, chat_prompt.c and chat_builtin.c share. */
#ifndef LONGQLORA_TOKENIZER_CHAT_TEMPLATE_INTERNAL_H
#define LONGQLORA_TOKENIZER_CHAT_TEMPLATE_INTERNAL_H

#include "lib/tokenizer/chat_template.h"

/* Part of a text, which is borrowed. */
struct chat_slice {
    const char *at;
    size_t bytes;
};

/* The texts from which the template strips white space, as Python's str.strip does. */
enum {
    STRIP_SYSTEM = 1,
    STRIP_PROMPT = 2,
    STRIP_ANSWER = 4,
    STRIP_TURN = 8, /* the system prompt, the text around it and the prompt, stripped as one text */
};

/* The parts in which a published text differs from a built-in template; NULL where they are
 * equal. */
struct chat_changes {
    const char *begin, *system, *finish;
    const char *others; /* an object of further keys, as JSON */
};

/* An answer, split into its thinking and the words that follow. */
struct chat_thought {
    struct chat_slice thought, words;
    bool has_mark; /* the answer has a </think> */
};
struct chat_thought chat_thought_split(const struct chat_template *t,
                                       const struct chat_exchange *turn);
/* Removes newlines at the start, at the end, or at both. */
struct chat_slice chat_strip_newlines(struct chat_slice text, bool at_start, bool at_end);
/* Is the prompt the response of a tool? The test is that of Qwen3's chat_template. */
bool chat_is_tool_response(const char *prompt);

/* The JSON text of a built-in template; NULL if there is none of that name. */
const char *chat_builtin(const char *name);
/* Is the built-in template that of a program for training, and not of a model? */
bool chat_builtin_is_of_program(const char *name);
/* Returns the built-in name that is nearest to `name`, or NULL if none is near. */
const char *chat_builtin_nearest(const char *name);

/* Like chat_template_open, with changes to a built-in template; changes may be NULL. */
int chat_template_open_changed(struct chat_template *t, const char *name,
                               const struct chat_changes *changes,
                               const struct tokenizer *tokenizer, struct fail *why) MUST_USE;

#endif
