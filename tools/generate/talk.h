/* talk.h - a conversation: its turns as tokens, and its dialogue on the terminal.
 */
#ifndef LONGQLORA_TALK_H
#define LONGQLORA_TALK_H

#include "lib/tokenizer/chat_template.h"
#include "tools/generate/generator.h"

struct turn {
    char *prompt;
    uint32_t *answer; /* the answer's ids and the template's end token */
    int64_t count;
};

struct talk {
    struct generator *g;
    const struct chat_template *template;
    const char *system; /* NULL: the template's own system message */
    int64_t context;    /* the largest number of tokens in a conversation */
    struct turn *turns; /* the last one may not be answered yet */
    size_t count;
    struct token_buffer ids; /* the tokens that the model reads next */
};

/* Is the prompt empty, or only white space? No conversation has such a prompt. */
bool talk_is_blank(const char *prompt);
/* Adds a turn with this prompt, which must not be blank. talk->ids becomes the whole conversation
 * up to the new answer. With a template for single turns, all earlier turns are dropped. Otherwise
 * the oldest turns are dropped until `reserve` tokens of the context are free. *dropped counts the
 * dropped turns. If the new turn alone does not fit, the call fails and the turn is not added. */
int talk_ask(struct talk *t, const char *prompt, int64_t reserve, size_t *dropped,
             struct fail *why) MUST_USE;
/* Stores the answer to the last turn. The template's end token is appended, as in training. */
int talk_answered(struct talk *t, const struct answer *a, struct fail *why) MUST_USE;
/* Removes `count` turns, beginning with turn `from`. */
void talk_drop(struct talk *t, size_t from, size_t count);
/* Begins a new conversation. */
void talk_forget(struct talk *t);
void talk_release(struct talk *t);

/* ---- terminal.c ---- */

/* Returns the flag that ^C sets while an answer is computed. It serves as `stop` of the model's
 * setup. */
const volatile int *talk_interrupted(void);
/* Reads questions from the terminal until its end. ^C during an answer ends the answer. ^C while
 * the model still reads the question removes the question from the conversation. ^C at the prompt,
 * or a second ^C, ends the program. */
int talk_on_terminal(struct talk *t, struct answer *a, bool shows_ids, struct fail *why) MUST_USE;

#endif
