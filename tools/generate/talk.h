/* talk.h - conversations: the turns so far as tokens, and the terminal.
 */
#ifndef LONGQLORA_TALK_H
#define LONGQLORA_TALK_H

#include "lib/tokenizer/chat_template.h"
#include "tools/generate/generator.h"

struct turn {
    char *prompt;
    uint32_t *answer; /* with what ends it */
    int64_t count;
};

struct talk {
    struct generator *g;
    const struct chat_template *template;
    const char *system; /* NULL: the template's sentence */
    int64_t context;    /* tokens that a conversation may have */
    struct turn *turns; /* of which the last may wait for its answer */
    size_t count, capacity;
    struct token_buffer ids; /* what the model reads next */
};

/* A new turn: talk->ids becomes the whole conversation up to its answer; a template that words one
 * turn forgets those before it. Oldest turns are
 * dropped until `reserve` tokens of the context are free; *dropped counts them. Fails,
 * without the turn, if it alone does not fit. */
int talk_ask(struct talk *t, const char *prompt, int64_t reserve, size_t *dropped,
             struct fail *why) MUST_USE;
/* The answer to the last turn; the template's end is put after it, as in training. */
int talk_answered(struct talk *t, const struct answer *a, struct fail *why) MUST_USE;
/* Begins a new conversation. */
void talk_forget(struct talk *t);
void talk_release(struct talk *t);

/* For the setup's stop: ^C came while an answer was made. */
const volatile int *talk_interrupted(void);
/* Asks for prompts on the terminal until its end. ^C ends an answer, or, while the prompt is
 * read, takes it back; at the prompt, or a second time, it ends the program. */
int talk_on_terminal(struct talk *t, struct answer *a, bool shows_ids, struct fail *why) MUST_USE;

#endif
