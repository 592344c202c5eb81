/* talk.c - keeps a conversation as tokens. */
#include "tools/generate/talk.h"

#include "lib/common/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Appends the turn as text, if its answer contains thinking that the template omits from earlier
 * turns. Returns 1 if it did, 0 if the caller must append the answer's tokens, or -1. */
static int add_without_thinking(struct talk *t, const struct turn *turn, bool is_first,
                                struct fail *why)
{
    size_t bytes;
    int status = 0;
    if (!turn->answer || t->template->thinking == THINKING_KEPT) return 0;
    char *decoded = tokenizer_decode(t->template->tokenizer, turn->answer, (size_t)turn->count - 1,
                                     &bytes, why);
    char *text = decoded ? strndup(decoded, bytes) : NULL;
    free(decoded);
    if (!text) return decoded ? fail(why, "out of memory") : -1;
    const struct chat_exchange whole = { .prompt = turn->prompt, .answer = text };
    if (strlen(text) == bytes && chat_template_drops(t->template, &whole, false))
        status =
            chat_template_turn(t->template, &t->ids, t->system, &whole, is_first, why) ? -1 : 1;
    free(text);
    return status;
}

/* Builds the prompt from the turns from `first` on. Each question is encoded separately. Each
 * answer keeps the tokens that were generated, unless the template leaves the answer's thinking
 * out. */
static int build_prompt(struct talk *t, size_t first, struct fail *why)
{
    t->ids.count = 0;
    for (size_t i = first; i < t->count; i++) {
        const struct turn *turn = &t->turns[i];
        int without = add_without_thinking(t, turn, i == first, why);
        if (without < 0) return -1;
        if (without) continue;
        /* The template asks only whether there is an answer, so the text "" stands for it. */
        const struct chat_exchange exchange = { .prompt = turn->prompt,
                                                .answer = turn->answer ? "" : NULL };
        if (chat_template_prompt(t->template, &t->ids, t->system, &exchange, i == first, why) ||
            token_buffer_add(&t->ids, turn->answer, (size_t)turn->count, why))
            return -1;
    }
    return 0;
}

void talk_drop(struct talk *t, size_t from, size_t count)
{
    if (!count) return;
    for (size_t i = from; i < from + count; i++) {
        free(t->turns[i].prompt);
        free(t->turns[i].answer);
    }
    t->count -= count;
    memmove(t->turns + from, t->turns + from + count, (t->count - from) * sizeof *t->turns);
}

bool talk_is_blank(const char *prompt) { return !prompt[strspn(prompt, " \t\r\n")]; }

int talk_ask(struct talk *t, const char *prompt, int64_t reserve, size_t *dropped, struct fail *why)
{
    *dropped = 0;
    if (talk_is_blank(prompt))
        return fail_input(why, "the prompt is empty, and --chat answers a question: write one");
    if (t->template->is_single) talk_forget(t);
    if (buffer_extend(&t->turns, t->count, why)) return -1;
    char *copy = strdup(prompt);
    if (!copy) return fail(why, "out of memory");
    t->turns[t->count++] = (struct turn){ .prompt = copy };
    int status = build_prompt(t, 0, why);
    while (!status && (int64_t)t->ids.count + reserve > t->context && *dropped + 1 < t->count)
        status = build_prompt(t, ++*dropped, why);
    if (!status) status = generator_fits((int64_t)t->ids.count, t->context, why);
    if (status) {
        *dropped = 0;
        talk_drop(t, t->count - 1, 1);
        return -1;
    }
    talk_drop(t, 0, *dropped);
    return 0;
}

int talk_answered(struct talk *t, const struct answer *a, struct fail *why)
{
    struct turn *turn = &t->turns[t->count - 1];
    turn->answer = malloc((size_t)(a->count + 1) * sizeof *turn->answer);
    if (!turn->answer) return fail(why, "out of memory");
    memcpy(turn->answer, a->ids, (size_t)a->count * sizeof *a->ids);
    turn->count = a->count;
    turn->answer[turn->count++] = t->template->end;
    return 0;
}

void talk_forget(struct talk *t) { talk_drop(t, 0, t->count); }

void talk_release(struct talk *t)
{
    talk_forget(t);
    free(t->turns);
    token_buffer_release(&t->ids);
    *t = (struct talk){ 0 };
}
