/* finish.h - a problem as the tokens that the model will read: as plain text, or as a conversation
 * by a template, exactly as generate does it.
 */
#ifndef LONGQLORA_NEEDLE_FINISH_H
#define LONGQLORA_NEEDLE_FINISH_H

#include "lib/tokenizer/chat_template.h"
#include "tools/needle/problem.h"

struct finish {
    const struct tokenizer *tokenizer;
    const struct chat_template *template; /* NULL: plain text, in which the answer is begun */
    const char *system;                   /* of the conversation; NULL: the template's own */
    bool has_answer;                      /* the answer belongs to the tokens, and counts */
    struct text prompt, answer;
    struct token_buffer ids;
};

/* Makes the prompt with n pieces of filler and `pad`, and its ids in f->ids. Returns 1 if n is too
 * small for the task. */
int finish_make(struct finish *f, const struct problem *p, size_t n, const char *pad,
                size_t pad_bytes, struct fail *why) MUST_USE;

/* After finish_make with has_answer: the positions [start, end) of each answer in f->ids, two
 * numbers for each. targets has space for all. */
int finish_targets(struct finish *f, const struct problem *p, uint32_t *targets,
                   struct fail *why) MUST_USE;

void finish_release(struct finish *f);

#endif
