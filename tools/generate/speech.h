/* speech.h - turns tokens into text while they are generated. Only complete UTF-8 characters are
 * written. Text that may still become a stop text is held back.
 */
#ifndef LONGQLORA_SPEECH_H
#define LONGQLORA_SPEECH_H

#include "lib/cli/opt.h"
#include "lib/tokenizer/tokenizer.h"

struct speech {
    const struct tokenizer *tokenizer;
    const struct opt_list *stops;
    int (*emit)(void *arg, const char *text, size_t bytes, struct fail *why);
    void *arg;
    bool strips;    /* white space at the beginning is left out */
    bool has_begun; /* some text has been written */
    /* The previous token. This token decides whether the next one begins with a space. */
    uint32_t before;
    char *held;
    size_t count, capacity;
};

/* Begins a new answer. Text goes to emit(arg, …). stops is borrowed. before: the last token of the
 * prompt. */
void speech_begin(struct speech *s, uint32_t before);
/* Adds one token. Returns 1 if a stop text was completed; the text before it has been written. */
int speech_token(struct speech *s, uint32_t id, struct fail *why) MUST_USE;
/* Writes the text that was held back, without an incomplete character at its end. */
int speech_end(struct speech *s, struct fail *why) MUST_USE;
void speech_release(struct speech *s);

#endif
