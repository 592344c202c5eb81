/* chat_turns.c - turns messages into a system prompt, then prompts and answers that alternate. A
 * message that does not fit is a failure, or is repaired as the reader's options say. */
#include "lib/tokenizer/chat_internal.h"

#include "lib/common/utf8.h"

bool chat_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Finds the text without white space at both ends: bytes [*start, *end). */
static void find_stripped(const char *text, size_t *start, size_t *end)
{
    *start = *end = 0;
    for (size_t at = 0, n; text[at]; at += n) {
        if (chat_is_space(utf8_decode(text + at, &n))) continue;
        if (!*end) *start = at;
        *end = at + n;
    }
}

static bool is_blank(const char *text)
{
    size_t start, end;
    find_stripped(text, &start, &end);
    return !end;
}

size_t chat_strip(char *text)
{
    size_t start, end;
    find_stripped(text, &start, &end);
    memmove(text, text + start, end - start);
    text[end - start] = 0;
    return start;
}

static void strip(struct chat_message *m)
{
    size_t start = chat_strip(m->text), end = strlen(m->text);
    if (!m->input_at) return;
    m->has_input = m->input_at > start && m->input_at - start < end;
    m->input_at = m->has_input ? m->input_at - start : 0;
}

static char *give_text(struct chat_message *m)
{
    char *text = m->text;
    m->text = NULL;
    return text;
}

/* ---- messages that are left out at any place in the list ---- */

/* Returns 1 to keep the message, 0 to leave it out, or -1. was_said: an earlier message of another
 * role than the system's has been kept. */
static int check_message(struct chat_reading *r, struct chat_message *m, bool was_said)
{
    if (!r->how->keeps_space) strip(m);
    if (m->who == SPEAKER_SYSTEM) {
        if (!was_said) return 1;
        if (chat_repairs(r, CHAT_REPAIR_SYSTEM)) return 0;
        return chat_refuse(r, CHAT_SYSTEM_LATER, "message %zu: a system message is in the middle",
                           m->number);
    }
    if (!is_blank(m->text)) return 1;
    if (chat_repairs(r, CHAT_REPAIR_EMPTY)) return 0;
    return chat_refuse(r, CHAT_EMPTY, "message %zu: an empty %s", m->number,
                       m->who == SPEAKER_USER ? "prompt" : "answer");
}

static int leave_out(struct chat_reading *r)
{
    size_t kept = 0;
    bool was_said = false;
    for (size_t i = 0; i < r->count; i++) {
        struct chat_message m = r->at[i];
        int keeps = check_message(r, &m, was_said);
        if (keeps < 0) return -1;
        r->at[i].text = NULL;
        if (!keeps) {
            free(m.text);
            continue;
        }
        was_said |= m.who != SPEAKER_SYSTEM;
        r->at[kept++] = m;
    }
    r->count = kept;
    return 0;
}

/* ---- adjacent messages of one role are joined by newlines ---- */

/* Joins the texts of `count` messages. */
static int join(struct chat_reading *r, struct chat_message *to, const struct chat_message *m,
                size_t count)
{
    size_t bytes = 0;
    to->text = NULL; /* m keeps its texts */
    for (size_t i = 0; i < count; i++) {
        bytes += strlen(m[i].text) + 1;
        if (m[i].reasoning_at)
            return chat_refuse(r, CHAT_REASONING,
                               "message %zu: reasoning in one of several answers in a row",
                               m[i].number);
    }
    char *at = to->text = malloc(bytes);
    if (!at) return fail(r->why, "out of memory");
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(m[i].text);
        memcpy(at, m[i].text, n);
        at += n;
        *at++ = '\n';
        to->is_trained &= m[i].is_trained;
    }
    at[-1] = 0;
    r->chat->repaired[CHAT_REPAIR_MERGED] += count - 1;
    return 0;
}

static int join_rows(struct chat_reading *r)
{
    struct chat_message *joined = calloc(r->count + 1, sizeof *joined);
    size_t kept = 0;
    int status = 0;
    if (!joined) return fail(r->why, "out of memory");
    for (size_t i = 0, next; !status && i < r->count; i = next) {
        for (next = i + 1; next < r->count && r->at[next].who == r->at[i].who;)
            next++;
        joined[kept] = r->at[i];
        if (next == i + 1)
            r->at[i].text = NULL;
        else
            status = join(r, &joined[kept], &r->at[i], next - i);
        kept++;
    }
    for (size_t i = 0; i < r->count; i++)
        free(r->at[i].text);
    free(r->at);
    r->at = joined;
    r->capacity = r->count + 1;
    r->count = kept;
    return status;
}

/* ---- turns ---- */

/* Is there a prompt that waits for its answer? */
static bool waits(const struct chat *c) { return c->count && !c->turns[c->count - 1].answer; }

static void drop_last_turn(struct chat *c)
{
    struct chat_turn *turn = &c->turns[--c->count];
    free(turn->prompt);
    free(turn->answer);
}

static int read_system(struct chat_reading *r, struct chat_message *m)
{
    struct chat *c = r->chat;
    if (!c->system) {
        c->system = give_text(m);
        return 0;
    }
    if (chat_repairs(r, CHAT_REPAIR_SYSTEM)) return 0;
    return chat_refuse(r, CHAT_SYSTEM_LATER, "message %zu: this is a second system message",
                       m->number);
}

/* If several prompts are adjacent, the last one stays, because the next answer replies to it. */
static int read_prompt(struct chat_reading *r, struct chat_message *m)
{
    struct chat *c = r->chat;
    if (waits(c)) {
        if (!chat_repairs(r, CHAT_REPAIR_ROW))
            return chat_refuse(r, CHAT_IN_A_ROW,
                               "message %zu: a prompt after a prompt, where an assistant's answer "
                               "was expected",
                               m->number);
        drop_last_turn(c);
    }
    c->turns[c->count++] = (struct chat_turn){ .prompt = give_text(m),
                                               .has_input = m->has_input,
                                               .input_at = m->input_at };
    return 0;
}

/* If several answers are adjacent, the first one stays, because it replies to the prompt. */
static int read_answer(struct chat_reading *r, struct chat_message *m)
{
    struct chat *c = r->chat;
    if (!c->count) {
        if (chat_repairs(r, CHAT_REPAIR_FIRST)) return 0;
        return chat_refuse(r, CHAT_ANSWER_FIRST,
                           "message %zu: an answer, where a user's prompt was expected", m->number);
    }
    if (!waits(c)) {
        if (chat_repairs(r, CHAT_REPAIR_ROW)) return 0;
        return chat_refuse(r, CHAT_IN_A_ROW,
                           "message %zu: an answer after an answer, where a user's prompt was "
                           "expected",
                           m->number);
    }
    struct chat_turn *turn = &c->turns[c->count - 1];
    turn->answer = give_text(m);
    turn->reasoning_at = m->reasoning_at;
    turn->is_trained = m->is_trained;
    return 0;
}

static int read_message(struct chat_reading *r, struct chat_message *m)
{
    return m->who == SPEAKER_SYSTEM ? read_system(r, m)
           : m->who == SPEAKER_USER ? read_prompt(r, m)
                                    : read_answer(r, m);
}

/* Decides which answers count in the loss. Fails if no answer counts. */
static int choose_trained(struct chat_reading *r)
{
    struct chat *c = r->chat;
    bool is_any = false;
    for (size_t i = 0; i < c->count; i++) {
        if (r->how->train_on == CHAT_TRAIN_LAST && i + 1 < c->count) c->turns[i].is_trained = false;
        is_any |= c->turns[i].is_trained;
    }
    if (is_any) return 0;
    return chat_refuse(r, CHAT_UNTRAINED, "no answer in it is to be trained on");
}

int chat_read_turns(struct chat_reading *r, const char *preference)
{
    struct chat *c = r->chat;
    if (preference && r->count && r->at[r->count - 1].who == SPEAKER_USER)
        return chat_refuse(r, CHAT_PREFERENCE, "'%s': better and worse answers are not trained on",
                           preference);
    if (leave_out(r) || (r->how->irregular == CHAT_IRREGULAR_MERGE && join_rows(r))) return -1;
    c->turns = calloc(r->count + 1, sizeof *c->turns);
    if (!c->turns) return fail(r->why, "out of memory");
    for (size_t i = 0; i < r->count; i++)
        if (read_message(r, &r->at[i])) return -1;
    if (waits(c) && c->count > 1) {
        if (!chat_repairs(r, CHAT_REPAIR_LAST))
            return chat_refuse(r, CHAT_PROMPT_LAST, "the conversation does not end with an answer");
        drop_last_turn(c);
    }
    if (!c->count || waits(c)) return chat_refuse(r, CHAT_NO_ANSWER, "no answer in it");
    return choose_trained(r);
}
