/* finish.h - turns a problem into the tokens that the model will read: plain text, or a
 * conversation by a template. The tokens are those of the tool generate.
 */
#ifndef LONGQLORA_NEEDLE_FINISH_H
#define LONGQLORA_NEEDLE_FINISH_H

#include "lib/tokenizer/chat_template.h"
#include "tools/needle/problem.h"

struct finish {
    const struct tokenizer *tokenizer;
    /* NULL: plain text, which ends with the beginning of the answer. */
    const struct chat_template *template;
    const char *system; /* the system prompt of the conversation; NULL: the template's own */
    bool has_answer;    /* the answer is part of the text, and of its length */
    struct text prompt, answer;
    struct token_buffer ids;
};

/* Makes the prompt with n pieces of filler and `pad`, and writes its ids into f->ids. Returns 1 if
 * n is too small for the task. */
int finish_make(struct finish *f, const struct problem *p, size_t n, const char *pad,
                size_t pad_bytes, struct fail *why) MUST_USE;

/* Writes the positions [start, end) of each answer in f->ids to targets, which has space for two
 * numbers for each answer. Call it after finish_make, with has_answer. */
int finish_targets(struct finish *f, const struct problem *p, uint32_t *targets,
                   struct fail *why) MUST_USE;

void finish_release(struct finish *f);

#endif
