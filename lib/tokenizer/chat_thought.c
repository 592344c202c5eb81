/* chat_thought.c - finds the thinking at the beginning of an answer: the text before </think>. It
 * follows the chat_templates of Qwen3 and DeepSeek-R1.
 */
#include "lib/tokenizer/chat_template_internal.h"

#include <string.h>

static const char opening[] = "<think>", closing[] = "</think>";

struct chat_slice chat_strip_newlines(struct chat_slice text, bool at_start, bool at_end)
{
    while (at_start && text.bytes && *text.at == '\n') {
        text.at++;
        text.bytes--;
    }
    while (at_end && text.bytes && text.at[text.bytes - 1] == '\n')
        text.bytes--;
    return text;
}

/* Returns the text after the last occurrence of a mark, or the whole text if the mark does not
 * occur. */
static struct chat_slice after_last(struct chat_slice text, const char *mark)
{
    size_t length = strlen(mark);
    for (const char *at; (at = memmem(text.at, text.bytes, mark, length));) {
        text.bytes -= (size_t)(at - text.at) + length;
        text.at = at + length;
    }
    return text;
}

struct chat_thought chat_thought_split(const struct chat_template *t,
                                       const struct chat_exchange *turn)
{
    struct chat_slice whole = { turn->answer, strlen(turn->answer) };
    const char *end = strstr(turn->answer, closing);
    struct chat_thought parts = { { turn->answer, 0 }, whole, end != NULL };
    if (turn->reasoning && t->has_thought) {
        const struct chat_slice beside = { turn->reasoning, strlen(turn->reasoning) };
        return (struct chat_thought){ chat_strip_newlines(beside, true, true), whole, false };
    }
    if (!end) return parts;
    struct chat_slice before = { turn->answer, (size_t)(end - turn->answer) };
    before = after_last(chat_strip_newlines(before, false, true), opening);
    parts.thought = chat_strip_newlines(before, true, true);
    parts.words = after_last(whole, closing);
    return parts;
}

bool chat_template_drops(const struct chat_template *t, const struct chat_exchange *turn,
                         bool is_last)
{
    if (t->thinking == THINKING_KEPT || (is_last && t->has_thought)) return false;
    return (turn->reasoning && *turn->reasoning) || chat_thought_split(t, turn).has_mark;
}

bool chat_is_tool_response(const char *prompt)
{
    static const char first[] = "<tool_response>", last[] = "</tool_response>";
    size_t bytes = strlen(prompt), length = strlen(last);
    return !strncmp(prompt, first, strlen(first)) && bytes >= length &&
           !strcmp(prompt + bytes - length, last);
}
