#include "chat.h"

#include "json.h"

#include <unistd.h>

/* The wording of the original chat recipe, those of Meta's chat models, and two that many others
 * have. */
static const struct {
    const char *name, *json;
} built_in[] = {
    { "vicuna",
      "{\"system\": \"A chat between a curious user and an artificial intelligence assistant. The "
      "assistant gives helpful, detailed, and polite answers to the user's questions. \","
      " \"turn\": \"USER: {} ASSISTANT: \", \"bos\": false}" },
    { "llama-2", "{\"system_turn\": \"<<SYS>>\\n{}\\n<</SYS>>\\n\\n\","
                 " \"turn\": \"<s>[INST] {system}{} [/INST]\", \"answer\": \"{} \","
                 " \"special\": [\"<s>\"]}" },
    { "llama-3",
      "{\"system_turn\": \"<|start_header_id|>system<|end_header_id|>\\n\\n{}<|eot_id|>\","
      " \"turn\": \"{system}<|start_header_id|>user<|end_header_id|>\\n\\n{}<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\\n\\n\", \"end\": \"<|eot_id|>\","
      " \"special\": [\"<|start_header_id|>\", \"<|end_header_id|>\", \"<|eot_id|>\"],"
      " \"bos\": true}" },
    { "zephyr", "{\"system_turn\": \"<|system|>\\n{}</s>\\n\","
                " \"turn\": \"{system}<|user|>\\n{}</s>\\n<|assistant|>\\n\", \"between\": \"\\n\","
                " \"special\": [\"</s>\"], \"whole\": true}" },
    { "chatml", "{\"system_turn\": \"<|im_start|>system\\n{}<|im_end|>\\n\","
                " \"turn\": \"{system}<|im_start|>user\\n{}<|im_end|>\\n<|im_start|>assistant\\n\","
                " \"between\": \"\\n\", \"end\": \"<|im_end|>\","
                " \"special\": [\"<|im_start|>\", \"<|im_end|>\"], \"whole\": true}" },
};
enum { BUILT_IN = sizeof built_in / sizeof *built_in };
static const char system_mark[] = "{system}";

/* ---- templates ---- */

/* Text around "{}", which stands in it once. */
static int read_around(struct chat_around *a, const char *text, const char *key, struct fail *why)
{
    const char *hole = text ? strstr(text, "{}") : NULL;
    if (!hole || strstr(hole + 2, "{}")) return fail_input(why, "'%s' needs one {}", key);
    a->before = strndup(text, (size_t)(hole - text));
    a->after = strdup(hole + 2);
    return a->before && a->after ? 0 : fail(why, "out of memory");
}

/* What stands before the system's sentence goes to t->lead. */
static int read_turn(struct chat_template *t, const char *turn, struct fail *why)
{
    const char *mark = turn ? strstr(turn, system_mark) : NULL;
    const char *rest = mark ? mark + strlen(system_mark) : turn;
    t->lead = mark ? strndup(turn, (size_t)(mark - turn)) : strdup("");
    if (!t->lead) return fail(why, "out of memory");
    if (strstr(t->lead, "{}") || (mark && strstr(rest, system_mark)))
        return fail_input(why, "'turn' needs one {}, and at most one {system} before it");
    return read_around(&t->turn, rest, "turn", why);
}

static int read_specials(struct chat_template *t, const json_t *list, struct fail *why)
{
    size_t count = json_array_size(list);
    if (list && !json_is_array(list)) return fail_input(why, "'special' is not a list");
    if (count > CHAT_SPECIALS_MAX)
        return fail_input(why, "%zu 'special', at most %d", count, CHAT_SPECIALS_MAX);
    t->specials = calloc(count + 1, sizeof *t->specials);
    if (!t->specials) return fail(why, "out of memory");
    for (; t->special_count < count; t->special_count++) {
        struct chat_special *s = &t->specials[t->special_count];
        const char *text = json_string_value(json_array_get(list, t->special_count));
        if (!text || !*text) return fail_input(why, "'special' is not a list of texts");
        s->id = tokenizer_special(t->tokenizer, text);
        if (s->id == UINT32_MAX)
            return fail_input(why, "the tokenizer has no token %s: a template for another model?",
                              text);
        s->text = strdup(text);
        if (!s->text) return fail(why, "out of memory");
    }
    return 0;
}

static int read_end(struct chat_template *t, const json_t *end, struct fail *why)
{
    const char *name = json_string_value(end);
    t->end = end ? UINT32_MAX : tokenizer_eos(t->tokenizer);
    if (!end && t->end == UINT32_MAX) return fail_input(why, "the tokenizer has no EOS");
    for (size_t i = 0; i < t->special_count; i++) {
        const char *text = t->specials[i].text;
        if (name && text && !strcmp(text, name)) t->end = t->specials[i].id;
    }
    return t->end == UINT32_MAX ? fail_input(why, "'end' is none of 'special'") : 0;
}

/* A text that need not be there. */
static int read_text(char **to, const json_t *object, const char *key, struct fail *why)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (value && !text) return fail_input(why, "'%s' is not a text", key);
    *to = strdup(text ? text : "");
    return *to ? 0 : fail(why, "out of memory");
}

static int find_tail(struct chat_template *t, struct fail *why)
{
    const char *tail = NULL;
    for (size_t i = 0; i < t->special_count; i++)
        for (const char *at = t->turn.after; (at = strstr(at, t->specials[i].text));) {
            at += strlen(t->specials[i].text);
            if (!tail || at > tail) tail = at;
        }
    if (!tail) return fail_input(why, "'whole' needs one of 'special' between prompt and answer");
    t->tail = strdup(tail);
    if (!t->tail) return fail(why, "out of memory");
    return tokenizer_encode(t->tokenizer, &t->tail_ids, tail, strlen(tail), why);
}

static int read_template(struct chat_template *t, const json_t *object, struct fail *why)
{
    static const char *const known[] = { "system",  "system_turn", "turn", "answer", "between",
                                         "special", "end",         "bos",  "whole" };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is_known |= !strcmp(key, known[i]);
        if (!is_known) return fail_input(why, "unknown key '%s'", key);
    }
    const json_t *system_turn = json_object_get(object, "system_turn");
    const json_t *answer = json_object_get(object, "answer");
    t->has_system_turn = system_turn != NULL;
    bool is_whole = false;
    if (read_text(&t->system, object, "system", why) ||
        read_text(&t->between, object, "between", why) ||
        read_turn(t, json_string_value(json_object_get(object, "turn")), why) ||
        read_around(&t->system_turn, system_turn ? json_string_value(system_turn) : "{}",
                    "system_turn", why) ||
        read_around(&t->answer, answer ? json_string_value(answer) : "{}", "answer", why) ||
        read_specials(t, json_object_get(object, "special"), why) ||
        read_end(t, json_object_get(object, "end"), why) ||
        json_get_flag(object, "bos", &t->adds_bos, why) ||
        json_get_flag(object, "whole", &is_whole, why) || (is_whole && find_tail(t, why)))
        return -1;
    if (t->adds_bos && tokenizer_bos(t->tokenizer) == UINT32_MAX)
        return fail_input(why, "the tokenizer has no BOS");
    return 0;
}

/* NULL: none of that name. */
static const char *find_built_in(const char *name)
{
    for (size_t i = 0; i < BUILT_IN; i++)
        if (!strcmp(name, built_in[i].name)) return built_in[i].json;
    return NULL;
}

int chat_template_check(const char *name, struct fail *why)
{
    if (find_built_in(name) || !access(name, F_OK)) return 0;
    return fail_usage(why, "'%s' is no template and no file: there are " CHAT_TEMPLATES, name);
}

int chat_template_open(struct chat_template *t, const char *name, const struct tokenizer *tokenizer,
                       struct fail *why)
{
    const char *text = find_built_in(name);
    *t = (struct chat_template){ .tokenizer = tokenizer };
    if (chat_template_check(name, why)) return -1;
    json_t *object =
        text ? json_read_text(text, strlen(text), name, why) : json_read_file(name, why);
    if (!object) return -1;
    int status = json_is_object(object) ? read_template(t, object, why)
                                        : fail_input(why, "not a JSON object");
    json_decref(object);
    if (status) chat_template_close(t);
    return status ? fail_in(why, name) : 0;
}

static void close_around(struct chat_around *a)
{
    free(a->before);
    free(a->after);
}

void chat_template_close(struct chat_template *t)
{
    for (size_t i = 0; i < t->special_count; i++)
        free(t->specials[i].text);
    free(t->specials);
    free(t->system);
    free(t->between);
    free(t->lead);
    free(t->tail);
    token_buffer_release(&t->tail_ids);
    close_around(&t->system_turn);
    close_around(&t->turn);
    close_around(&t->answer);
    *t = (struct chat_template){ 0 };
}

/* ---- templates as tokens: text between two special tokens is encoded whole ---- */

struct wording {
    const struct chat_template *t;
    struct token_buffer *ids;
    char *text; /* that waits to be encoded */
    size_t bytes, room;
    struct fail *why;
    int status;
};

static void say_bytes(struct wording *w, const char *text, size_t bytes)
{
    if (w->bytes + bytes > w->room) {
        size_t room = 2 * (w->bytes + bytes) + 64;
        char *grown = w->status ? NULL : realloc(w->text, room);
        if (!grown) {
            if (!w->status) w->status = fail(w->why, "out of memory");
            return;
        }
        w->text = grown;
        w->room = room;
    }
    if (bytes) memcpy(w->text + w->bytes, text, bytes);
    w->bytes += bytes;
}

static void say(struct wording *w, const char *text) { say_bytes(w, text, strlen(text)); }

static void encode_said(struct wording *w)
{
    if (!w->status && w->bytes)
        w->status = tokenizer_encode(w->t->tokenizer, w->ids, w->text, w->bytes, w->why);
    w->bytes = 0;
}

/* The template's own text, whose special tokens are tokens. */
static void say_ours(struct wording *w, const char *text)
{
    while (*text && !w->status) {
        const struct chat_special *next = NULL;
        const char *at = text + strlen(text);
        for (size_t i = 0; i < w->t->special_count; i++) {
            const struct chat_special *s = &w->t->specials[i];
            const char *found = strstr(text, s->text);
            bool is_longer = found == at && next && strlen(s->text) > strlen(next->text);
            if (!found || (found >= at && !is_longer)) continue;
            next = s;
            at = found;
        }
        say_bytes(w, text, (size_t)(at - text));
        text = at;
        if (!next) return;
        encode_said(w);
        if (!w->status) w->status = token_buffer_add(w->ids, &next->id, 1, w->why);
        text += strlen(next->text);
    }
}

static int end_wording(struct wording *w)
{
    encode_said(w);
    free(w->text);
    return w->status;
}

static void say_system(struct wording *w, const char *system)
{
    const char *own = w->t->system;
    if (!*(system ? system : own)) return;
    say_ours(w, w->t->system_turn.before);
    if (system)
        say(w, system);
    else
        say_ours(w, own);
    /* Without a wording of its own a conversation's sentence is set off as the template's is. */
    size_t bytes = strlen(own);
    if (system && !w->t->has_system_turn && bytes && own[bytes - 1] == ' ') say(w, " ");
    say_ours(w, w->t->system_turn.after);
}

int chat_begin(const struct chat_template *t, struct token_buffer *ids, struct fail *why)
{
    uint32_t bos = tokenizer_bos(t->tokenizer);
    return t->adds_bos ? token_buffer_add(ids, &bos, 1, why) : 0;
}

int chat_put_prompt(const struct chat_template *t, struct token_buffer *ids, const char *system,
                    const char *prompt, bool is_first, struct fail *why)
{
    struct wording w = { .t = t, .ids = ids, .why = why };
    if (!is_first) say_ours(&w, t->between);
    say_ours(&w, t->lead);
    if (is_first) say_system(&w, system);
    say_ours(&w, t->turn.before);
    say(&w, prompt);
    say_ours(&w, t->turn.after);
    return end_wording(&w);
}

/* Takes the tail's ids away, which stand before already, from where it was encoded with an answer.
 */
static int cut_tail(const struct chat_template *t, struct token_buffer *ids, size_t start,
                    struct fail *why)
{
    size_t tail = t->tail_ids.count, count = ids->count - start;
    uint32_t *at = ids->ids + start;
    if (count < tail || memcmp(at, t->tail_ids.ids, tail * sizeof *at) != 0)
        return fail_input(why, "the answer runs into the text before it: not for 'whole'");
    memmove(at, at + tail, (count - tail) * sizeof *at);
    ids->count -= tail;
    return 0;
}

int chat_put_answer(const struct chat_template *t, struct token_buffer *ids, const char *answer,
                    struct fail *why)
{
    struct wording w = { .t = t, .ids = ids, .why = why };
    size_t start = ids->count;
    if (t->tail) say(&w, t->tail);
    say_ours(&w, t->answer.before);
    say(&w, answer);
    say_ours(&w, t->answer.after);
    encode_said(&w);
    if (!w.status && t->tail) w.status = cut_tail(t, ids, start, why);
    if (!w.status) w.status = token_buffer_add(ids, &t->end, 1, why);
    return end_wording(&w);
}
