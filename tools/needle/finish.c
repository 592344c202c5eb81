#include "tools/needle/finish.h"

#include <string.h>

/* Returns another character of the same kind. */
static char other(char c)
{
    if (c >= '0' && c <= '9') return (char)('1' + (c - '0') % 9);
    return (char)(c == 'z' || c == 'Z' ? c - 1 : c + 1);
}

/* Writes the text of the answer: the prefix, as in a prompt of plain text, then the answers.
 * changed: in this answer one character, the first or the last, is replaced by another; -1: in
 * none. */
static int word_answer(struct finish *f, const struct problem *p, int64_t changed, bool is_first,
                       struct fail *why)
{
    const char *prefix = p->prefix;
    f->answer.bytes = 0;
    if (f->template) {
        prefix += strspn(prefix, " \n");
        if (text_add_word(&f->answer, prefix, why)) return -1;
    }
    size_t length = strlen(prefix);
    bool has_space = length && (prefix[length - 1] == ' ' || prefix[length - 1] == '\n');
    if (!has_space && text_add(&f->answer, " ", 1, why)) return -1;
    for (size_t i = 0; i < p->answer_count; i++) {
        if (i && text_add(&f->answer, ", ", 2, why)) return -1;
        if (text_add_word(&f->answer, p->answers[i], why)) return -1;
        char *begin = f->answer.at + f->answer.bytes - strlen(p->answers[i]);
        char *at = is_first ? begin : f->answer.at + f->answer.bytes - 1;
        if ((int64_t)i == changed) *at = other(*at);
    }
    return text_add(&f->answer, ".", 1, why);
}

/* Encodes f->prompt and, with has_answer, f->answer. */
static int encode(struct finish *f, struct fail *why)
{
    uint32_t begin = tokenizer_begin(f->tokenizer), span[2];
    const struct chat_exchange exchange = { .prompt = f->prompt.at,
                                            .answer = f->has_answer ? f->answer.at : NULL };
    f->ids.count = 0;
    if (f->template && f->has_answer)
        return chat_template_encode(f->template, &f->ids, f->system, &exchange, 1, span, why);
    if (f->template)
        return chat_template_prompt(f->template, &f->ids, f->system, &exchange, true, why);
    if (begin != UINT32_MAX && token_buffer_add(&f->ids, &begin, 1, why)) return -1;
    if (!f->has_answer)
        return tokenizer_encode(f->tokenizer, &f->ids, f->prompt.at, f->prompt.bytes, why);
    size_t bytes = f->prompt.bytes;
    if (text_add(&f->prompt, f->answer.at, f->answer.bytes, why)) return -1;
    int status = tokenizer_encode(f->tokenizer, &f->ids, f->prompt.at, f->prompt.bytes, why);
    f->prompt.bytes = bytes;
    f->prompt.at[bytes] = 0;
    return status;
}

int finish_make(struct finish *f, const struct problem *p, size_t n, const char *pad,
                size_t pad_bytes, struct fail *why)
{
    f->prompt.bytes = 0;
    int status = problem_text(p, n, pad, pad_bytes, &f->prompt, why);
    if (!status && !f->template) status = text_add_word(&f->prompt, p->prefix, why);
    if (!status && f->has_answer) status = word_answer(f, p, -1, false, why);
    return status ? status : encode(f, why);
}

/* Finds the tokens of an answer by changing it. The first id that changes with the answer's first
 * character is the answer's first token. The last id that changes with the answer's last character
 * is its last token. This works for every tokenizer and template. */
int finish_targets(struct finish *f, const struct problem *p, uint32_t *targets, struct fail *why)
{
    struct token_buffer whole = { 0 };
    int status = token_buffer_add(&whole, f->ids.ids, f->ids.count, why);
    for (size_t i = 0; i < p->answer_count && !status; i++) {
        size_t same = 0, after = 0;
        status = word_answer(f, p, (int64_t)i, true, why) || encode(f, why) ? -1 : 0;
        while (!status && same < whole.count && same < f->ids.count &&
               whole.ids[same] == f->ids.ids[same])
            same++;
        if (!status) status = word_answer(f, p, (int64_t)i, false, why) || encode(f, why) ? -1 : 0;
        while (!status && after < whole.count - same && after < f->ids.count &&
               whole.ids[whole.count - 1 - after] == f->ids.ids[f->ids.count - 1 - after])
            after++;
        targets[2 * i] = (uint32_t)same;
        targets[2 * i + 1] = (uint32_t)(whole.count - after);
        if (!status && same >= whole.count - after)
            status = fail_input(why, "the answer '%s' gives no token", p->answers[i]);
    }
    f->ids.count = 0;
    if (!status) status = token_buffer_add(&f->ids, whole.ids, whole.count, why);
    token_buffer_release(&whole);
    return status;
}

void finish_release(struct finish *f)
{
    free(f->prompt.at);
    free(f->answer.at);
    token_buffer_release(&f->ids);
}
