/* speech.h - tokens become text as they come: whole, valid UTF-8 characters only, and
 * nothing that may still turn out to be the beginning of a stop text.
 */
#ifndef LONGQLORA_SPEECH_H
#define LONGQLORA_SPEECH_H

#include "lib/cli/opt.h"
#include "lib/tokenizer/tokenizer.h"

struct speech {
    const struct tokenizer *tokenizer;
    const struct opt_list *stops;
    int (*say)(void *arg, const char *text, size_t bytes, struct fail *why);
    void *arg;
    bool strips;     /* white space at the beginning is left out */
    bool has_begun;  /* something was said */
    uint32_t before; /* the token before the next */
    char *held;
    size_t count, capacity;
};

/* Text goes to say(arg, …). stops is borrowed; before: the last token of the prompt. */
void speech_begin(struct speech *s, uint32_t before);
/* Returns 1 if a stop text came: what was before it is said. */
int speech_token(struct speech *s, uint32_t id, struct fail *why) MUST_USE;
/* Says what was held back. */
int speech_end(struct speech *s, struct fail *why) MUST_USE;
void speech_release(struct speech *s);

#endif
