/* chat_prompt.c - encodes a conversation. Text is collected until a special token comes, the prompt
 * ends (unless the template is `whole`), or the conversation ends. Then it is encoded as one text.
 * The field `mark` says where an answer begins in the collected text. */
#include "lib/tokenizer/chat_template_internal.h"

#include "lib/common/buffer.h"
#include "lib/common/utf8.h"
#include "lib/tokenizer/chat_internal.h"
#include "lib/tokenizer/unicode_tables.h"

enum { NO_MARK = -1 };

struct prompt_builder {
    const struct chat_template *t;
    struct token_buffer *ids;
    char *text; /* the text that is not yet encoded */
    size_t bytes, capacity;
    int64_t mark;     /* where the answer begins in that text, or NO_MARK */
    uint32_t *marked; /* where to store the position of the answer's first token */
    bool is_first;    /* nothing precedes the text, from the tokenizer's view */
    /* The special token before the text takes the white space that follows it (rstrip). */
    bool takes_space;
    struct fail *why;
    int status;
};

/* ---- white space ---- */

static struct chat_slice slice_of(const char *text)
{
    return (struct chat_slice){ text, strlen(text) };
}

static struct chat_slice strip(struct chat_slice text, bool at_start, bool at_end)
{
    size_t start = text.bytes, end = 0;
    for (size_t at = 0, n; at < text.bytes; at += n) {
        if (chat_is_space(utf8_decode(text.at + at, &n))) continue;
        if (start == text.bytes) start = at;
        end = at + n;
    }
    if (!at_start) start = 0;
    if (!at_end) end = text.bytes;
    return start < end ? (struct chat_slice){ text.at + start, end - start }
                       : (struct chat_slice){ text.at, 0 };
}

static struct chat_slice strip_if(struct chat_slice text, unsigned condition)
{
    return condition ? strip(text, true, true) : text;
}

/* ---- encoding the collected text ---- */

static int encode(struct prompt_builder *b, size_t bytes)
{
    return b->is_first ? tokenizer_encode(b->t->tokenizer, b->ids, b->text, bytes, b->why)
                       : tokenizer_encode_after(b->t->tokenizer, b->ids, b->text, bytes, b->why);
}

/* Computes how many bytes of the collected text the first `count` ids cover. */
static int bytes_of(struct prompt_builder *b, const uint32_t *ids, size_t count, size_t *bytes)
{
    const struct tokenizer *t = b->t->tokenizer;
    char *text = tokenizer_decode(t, ids, count, bytes, b->why);
    bool puts_space = tokenizer_puts_space(t, b->text, b->bytes, !b->is_first);
    free(text);
    /* The decoder removes a space at the start, even if the encoder did not put one there. */
    if (tokenizer_puts_space(t, "", 0, false) && !puts_space && count && b->text[0] == ' ')
        ++*bytes;
    return text ? 0 : -1;
}

/* Finds the first token that contains a byte after the mark. The caller has also encoded the
 * text up to the mark alone, and the first `same` tokens of both are equal, so these end before
 * the mark. The search also skips later tokens that end before it. */
static int find_overlap(struct prompt_builder *b, const uint32_t *ids, size_t count, size_t same,
                        size_t *first)
{
    size_t bytes = 0, mark;
    if (tokenizer_normal_bytes(b->t->tokenizer, b->text, (size_t)b->mark, &mark, b->why)) return -1;
    for (*first = same; *first < count; ++*first) {
        if (bytes_of(b, ids, *first + 1, &bytes)) return -1;
        if (bytes > mark) break;
    }
    return 0;
}

/* Encodes the collected text twice: up to the mark, and as a whole. If a token spans the mark, the
 * two results differ from that token on. */
static int encode_marked(struct prompt_builder *b)
{
    size_t start = b->ids->count, same = 0, first;
    if (encode(b, (size_t)b->mark)) return -1;
    size_t prefix = b->ids->count - start;
    if (encode(b, b->bytes)) return -1;
    uint32_t *ids = b->ids->ids + start;
    size_t whole = b->ids->count - start - prefix;
    while (same < prefix && same < whole && ids[same] == ids[prefix + same])
        same++;
    first = same;
    if (b->t->is_counted)
        first = prefix;
    else if (same < prefix && find_overlap(b, ids + prefix, whole, same, &first))
        return -1;
    if (first > whole)
        return fail_input(
            b->why, "the text before an answer has more tokens than text and answer together");
    memmove(ids, ids + prefix, whole * sizeof *ids);
    b->ids->count -= prefix;
    *b->marked = (uint32_t)(start + first);
    return 0;
}

static int refuse_mark(struct prompt_builder *b, const char *mark)
{
    return fail_input(
        b->why,
        "a message contains '%s', which is a special text of the template %s, whose own program "
        "trains on nothing in such a conversation: leave the conversation out",
        mark, b->t->name);
}

/* Fails if a message of the conversation contains the template's text `once` or `never`. FastChat
 * finds answers by searching for these texts, and does not train on such a conversation. */
static int check_marks(struct prompt_builder *b)
{
    const char *once = b->t->once, *never = b->t->never;
    size_t length = strlen(once), at = b->bytes;
    const char *found = length ? memmem(b->text, b->bytes, once, length) : NULL;
    if (found) at = (size_t)(found - b->text);
    if (length && (!found || (int64_t)(at + length) != b->mark + 1 ||
                   memmem(found + length, b->bytes - at - length, once, length)))
        return refuse_mark(b, once);
    if (*never && memmem(b->text, b->bytes, never, strlen(never))) return refuse_mark(b, never);
    return 0;
}

static void flush(struct prompt_builder *b)
{
    bool is_marked = b->mark != NO_MARK;
    if (b->status) return;
    if (is_marked) b->status = check_marks(b);
    if (b->status) return;
    if (is_marked && b->mark > 0 && (size_t)b->mark < b->bytes) {
        b->status = encode_marked(b);
    } else {
        if (is_marked && !b->mark) *b->marked = (uint32_t)b->ids->count;
        if (b->bytes) b->status = encode(b, b->bytes);
        if (is_marked && b->mark) *b->marked = (uint32_t)b->ids->count;
    }
    b->mark = NO_MARK;
    b->is_first = b->is_first && !b->bytes;
    b->bytes = 0;
}

/* ---- prompts and answers ---- */

/* Removes white space from the beginning of a text that follows a token with rstrip. */
static struct chat_slice strip_after_token(struct prompt_builder *b, struct chat_slice text)
{
    size_t n;
    while (b->takes_space && text.bytes) {
        b->takes_space = unicode_is_space(utf8_decode(text.at, &n));
        if (!b->takes_space) break;
        text.at += n;
        text.bytes -= n;
    }
    return text;
}

static void emit_text(struct prompt_builder *b, struct chat_slice text)
{
    if (b->status) return;
    text = strip_after_token(b, text);
    b->status = buffer_reserve(&b->text, &b->capacity, b->bytes, text.bytes, b->why);
    if (b->status || !text.bytes) return;
    memcpy(b->text + b->bytes, text.at, text.bytes);
    b->bytes += text.bytes;
}

/* Finds the first special token in a text; if several begin at the same place, the longest of them.
 * Returns NULL if there is none. */
static const struct chat_special *find_special(const struct chat_template *t, const char *text,
                                               const char **at)
{
    const struct chat_special *first = NULL;
    *at = text + strlen(text);
    for (size_t i = 0; i < t->special_count; i++) {
        const struct chat_special *s = &t->specials[i];
        const char *found = strstr(text, s->text);
        bool is_longer = found == *at && first && strlen(s->text) > strlen(first->text);
        if (!found || (found >= *at && !is_longer)) continue;
        first = s;
        *at = found;
    }
    return first;
}

/* Removes white space from the end of the collected text, before a token with lstrip. */
static void strip_before_token(struct prompt_builder *b)
{
    while (b->bytes) {
        size_t at = b->bytes - 1, n;
        while (at && ((unsigned char)b->text[at] & 0xc0) == 0x80)
            at--;
        if (!unicode_is_space(utf8_decode(b->text + at, &n))) break;
        b->bytes = at;
    }
    if (b->mark > (int64_t)b->bytes) b->mark = (int64_t)b->bytes;
}

static void emit_id(struct prompt_builder *b, uint32_t id, unsigned spaces)
{
    if (spaces & TOKEN_TAKES_LEFT) strip_before_token(b);
    flush(b);
    if (!b->status) b->status = token_buffer_add(b->ids, &id, 1, b->why);
    b->is_first = false;
    b->takes_space = spaces & TOKEN_TAKES_RIGHT;
}

/* Appends text of the template, in which special tokens become tokens. */
static void emit_template(struct prompt_builder *b, const char *text)
{
    while (*text && !b->status) {
        const char *at;
        const struct chat_special *next = find_special(b->t, text, &at);
        emit_text(b, (struct chat_slice){ text, (size_t)(at - text) });
        if (!next) return;
        emit_id(b, next->id, next->spaces);
        text = at + strlen(next->text);
    }
}

static void emit_system(struct prompt_builder *b, const char *own, bool has_prompt)
{
    const struct chat_template *t = b->t;
    if (own && t->refuses_system && !b->status)
        b->status = fail_input(b->why,
                               "%s has no place for a system prompt: leave it out, or "
                               "put it into the first prompt",
                               t->name);
    if (!own && !*t->system && !t->always_system) return;
    emit_template(b, t->system_turn.before);
    if (own)
        emit_text(b, strip_if(slice_of(own), t->strips & STRIP_SYSTEM));
    else
        emit_template(b, t->system);
    /* Some templates end the default system prompt with a space. A conversation's own system prompt
     * then gets a space too, unless the template has a text around system prompts. */
    size_t bytes = strlen(t->system);
    if (own && *own && !t->has_system_turn && bytes && t->system[bytes - 1] == ' ')
        emit_template(b, " ");
    struct chat_slice after = slice_of(t->system_turn.after);
    if ((t->strips & STRIP_TURN) && !has_prompt) after = strip(after, false, true);
    char *rest = strndup(after.at, after.bytes);
    if (rest) emit_template(b, rest);
    if (!rest && !b->status) b->status = fail(b->why, "out of memory");
    free(rest);
}

/* Appends the texts before the prompt. has_prompt: the prompt is not empty. */
static void begin_turn(struct prompt_builder *b, const char *system, bool is_first, bool has_system,
                       bool has_prompt)
{
    const struct chat_template *t = b->t;
    if (!is_first) emit_template(b, t->following);
    if (!is_first) emit_template(b, t->between);
    if (is_first && t->adds_bos) {
        emit_id(b, tokenizer_bos(t->tokenizer), 0);
        b->is_first = true;
    }
    if (is_first) emit_template(b, t->begin);
    emit_template(b, t->lead);
    if (has_system) emit_system(b, system, has_prompt);
}

/* Appends a turn up to where its answer begins. If the template has a place for Alpaca's input and
 * the turn has an input, the prompt is only the part before it. */
static void emit_turn(struct prompt_builder *b, const char *system,
                      const struct chat_exchange *turn, bool is_first)
{
    const struct chat_template *t = b->t;
    if (system && !*system && t->skips_empty) system = NULL;
    bool has_place = t->last_system ? !turn->answer : is_first;
    bool has_system = has_place && (system || *t->system || t->always_system);
    bool has_input = turn->input && *turn->input && t->has_input_turn;
    struct chat_slice prompt = slice_of(turn->prompt), input = prompt;
    if (has_input) {
        input = slice_of(turn->input);
        prompt.bytes = turn->input > turn->prompt ? (size_t)(turn->input - turn->prompt) - 1 : 0;
    }
    prompt = t->strips & STRIP_TURN ? strip(prompt, !has_system, true)
                                    : strip_if(prompt, t->strips & STRIP_PROMPT);
    if (t->refuses_empty && !prompt.bytes && !b->status)
        b->status = fail_input(
            b->why,
            "an empty prompt, which the template %s cannot express: leave the conversation out",
            t->name);
    begin_turn(b, system, is_first, has_system, prompt.bytes > 0);
    emit_template(b, has_input ? t->input_turn.before : t->turn.before);
    emit_text(b, prompt);
    if (has_input) emit_template(b, t->input.before);
    if (has_input) emit_text(b, strip_if(input, t->strips & STRIP_PROMPT));
    emit_template(b, has_input ? t->input.after : t->turn.after);
    if (!turn->answer) emit_template(b, t->waiting);
}

static void mark_answer(struct prompt_builder *b, uint32_t *marked)
{
    b->mark = (int64_t)b->bytes;
    b->marked = marked;
}

/* Appends the words of an answer. *marked becomes the place from which they count as the answer.
 * When an answer is generated, its prompt ends with the text `waiting`. So if the words here
 * begin with this text, it counts as part of the prompt. */
static void emit_words(struct prompt_builder *b, struct chat_slice words, uint32_t *marked)
{
    size_t waiting = strlen(b->t->waiting);
    bool begins = words.bytes >= waiting && !memcmp(words.at, b->t->waiting, waiting);
    if (begins) emit_text(b, (struct chat_slice){ words.at, waiting });
    mark_answer(b, marked);
    emit_template(b, b->t->answer.before);
    if (!begins) waiting = 0;
    emit_text(b, (struct chat_slice){ words.at + waiting, words.bytes - waiting });
}

/* Appends a conversation's last answer with its thinking, even if the thinking is empty. */
static void emit_thought(struct prompt_builder *b, const struct chat_thought *parts,
                         uint32_t *marked)
{
    const struct chat_template *t = b->t;
    bool is_begun = *t->waiting && !strcmp(t->waiting, t->thought.before);
    bool is_done = *t->waiting && !is_begun && !parts->thought.bytes;
    if (!is_begun && !is_done) mark_answer(b, marked);
    emit_template(b, t->thought.before);
    if (is_begun) mark_answer(b, marked);
    emit_text(b, parts->thought);
    emit_template(b, t->thought.after);
    if (is_done) mark_answer(b, marked);
    emit_text(b, chat_strip_newlines(parts->words, true, false));
}

/* Appends an answer, with the text and the token that end it. `span` gets the positions where the
 * answer begins and ends; the end is behind that token. is_last: the answer ends the
 * conversation. */
static void emit_answer(struct prompt_builder *b, const struct chat_exchange *turn, bool is_last,
                        uint32_t span[2])
{
    const struct chat_template *t = b->t;
    if (!t->is_whole) flush(b);
    if (!t->is_whole) b->is_first = true;
    if (t->refuses_empty && !*turn->answer && !b->status)
        b->status = fail_input(
            b->why,
            "an empty answer, which the template %s cannot express: leave the conversation out",
            t->name);
    struct chat_slice words = strip_if(slice_of(turn->answer), t->strips & STRIP_ANSWER);
    struct chat_thought parts = chat_thought_split(t, turn);
    if (t->has_thought && is_last) {
        emit_thought(b, &parts, &span[0]);
    } else {
        if (t->thinking != THINKING_KEPT && parts.has_mark)
            words = chat_strip_newlines(parts.words, t->thinking != THINKING_DROPPED, false);
        emit_words(b, words, &span[0]);
    }
    emit_template(b, t->answer.after);
    emit_id(b, t->end, t->end_spaces);
    span[1] = (uint32_t)b->ids->count;
    if (!t->is_whole) b->is_first = true;
}

static int end_building(struct prompt_builder *b)
{
    flush(b);
    free(b->text);
    return b->status;
}

int chat_template_encode(const struct chat_template *t, struct token_buffer *ids,
                         const char *system, const struct chat_exchange *turns, size_t count,
                         uint32_t *spans, struct fail *why)
{
    struct prompt_builder b = { .t = t, .ids = ids, .mark = NO_MARK, .is_first = true, .why = why };
    if (t->is_single && count > 1)
        return fail_input(why,
                          "%zu turns, but the template %s has only one: split the conversation, or "
                          "choose another template",
                          count, t->name);
    if (t->has_thought && count && chat_is_tool_response(turns[count - 1].prompt))
        return fail_input(why,
                          "the last prompt is a <tool_response>, which the template %s does not "
                          "treat as a prompt: tools are not trained on",
                          t->name);
    for (size_t i = 0; i < count; i++) {
        emit_turn(&b, system, &turns[i], i == 0);
        emit_answer(&b, &turns[i], i + 1 == count, spans + 2 * i);
    }
    if (count) emit_template(&b, t->following);
    if (count) emit_template(&b, t->finish);
    return end_building(&b);
}

/* Prepares for a turn that begins a conversation, or follows the id that ended an answer. */
static void begin_building(struct prompt_builder *b, const struct chat_template *t,
                           struct token_buffer *ids, bool is_first, struct fail *why)
{
    *b = (struct prompt_builder){ .t = t, .ids = ids, .mark = NO_MARK, .why = why };
    b->is_first = is_first || !t->is_whole;
    b->takes_space = !is_first && (t->end_spaces & TOKEN_TAKES_RIGHT);
}

int chat_template_turn(const struct chat_template *t, struct token_buffer *ids, const char *system,
                       const struct chat_exchange *turn, bool is_first, struct fail *why)
{
    struct prompt_builder b;
    uint32_t span[2];
    begin_building(&b, t, ids, is_first, why);
    emit_turn(&b, system, turn, is_first);
    emit_answer(&b, turn, false, span);
    return end_building(&b);
}

int chat_template_prompt(const struct chat_template *t, struct token_buffer *ids,
                         const char *system, const struct chat_exchange *turn, bool is_first,
                         struct fail *why)
{
    struct prompt_builder b;
    begin_building(&b, t, ids, is_first, why);
    emit_turn(&b, system, turn, is_first);
    return end_building(&b);
}
