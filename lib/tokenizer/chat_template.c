#include "lib/tokenizer/chat_template_internal.h"

#include "lib/common/json.h"

#include <unistd.h>

static const char system_mark[] = "{system}", input_mark[] = "{input}", hole[] = "{}";

/* ---- texts ---- */

static char *copy_of(const char *text, size_t bytes, struct fail *why)
{
    char *copy = strndup(text, bytes);
    if (!copy) fail(why, "out of memory");
    return copy;
}

/* Reads a text; a missing key gives "". */
static int read_text(char **to, const json_t *object, const char *key, struct fail *why)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (value && !text) return fail_input(why, "'%s' is not a text", key);
    *to = copy_of(text ? text : "", text ? strlen(text) : 0, why);
    return *to ? 0 : -1;
}

/* Splits a text into the parts before and after a placeholder, which must occur exactly once. */
static int read_around(struct chat_around *a, const char *text, const char *mark, const char *key,
                       struct fail *why)
{
    const char *at = text ? strstr(text, mark) : NULL;
    if (!at || strstr(at + strlen(mark), mark))
        return fail_input(why, "'%s' needs one %s", key, mark);
    a->before = copy_of(text, (size_t)(at - text), why);
    a->after = a->before ? copy_of(at + strlen(mark), strlen(at + strlen(mark)), why) : NULL;
    return a->after ? 0 : -1;
}

/* Reads the text of a turn. The part before {system} becomes t->lead. */
static int read_turn(struct chat_template *t, const char *turn, struct fail *why)
{
    const char *mark = turn ? strstr(turn, system_mark) : NULL;
    const char *rest = mark ? mark + strlen(system_mark) : turn;
    t->lead = copy_of(mark ? turn : "", mark ? (size_t)(mark - turn) : 0, why);
    if (!t->lead) return -1;
    if (strstr(t->lead, hole) || (mark && strstr(rest, system_mark)))
        return fail_input(why, "'turn' needs one {}, and at most one {system} before it");
    return read_around(&t->turn, rest, hole, "turn", why);
}

/* Reads "before{}between{input}after". The parts `before` and `between` are around the prompt, and
 * `after` follows the input. */
static int read_input_turn(struct chat_template *t, const json_t *object, struct fail *why)
{
    const json_t *value = json_object_get(object, "input_turn");
    if (!value) return 0;
    t->has_input_turn = true;
    if (read_around(&t->input_turn, json_string_value(value), hole, "input_turn", why)) return -1;
    return read_around(&t->input, t->input_turn.after, input_mark, "input_turn", why);
}

/* Sets *to to the place of the value of this key in a list of words; without the key, to 0. Returns
 * false if the value is none of them. */
static bool read_word(const json_t *object, const char *key, const char *const *words, int count,
                      int *to)
{
    const json_t *value = json_object_get(object, key);
    const char *word = json_string_value(value);
    for (*to = 0; word && *to < count; ++*to)
        if (!strcmp(word, words[*to])) return true;
    return !value;
}

/* Reads what the template does with the thinking in answers. */
static int read_thinking(struct chat_template *t, const json_t *object, struct fail *why)
{
    static const char *const words[] = { "keep", "drop", "drop_newlines" };
    const json_t *thought = json_object_get(object, "thought");
    int word;
    if (!read_word(object, "thinking", words, 3, &word))
        return fail_input(why, "'thinking' is one of keep, drop and drop_newlines");
    t->thinking = (enum chat_thinking)word;
    t->has_thought = thought != NULL;
    if (!thought) return 0;
    if (t->thinking == THINKING_KEPT) return fail_input(why, "'thought' needs 'thinking': drop");
    return read_around(&t->thought, json_string_value(thought), hole, "thought", why);
}

/* Reads how the parts of a message's text are joined. */
static int read_parts(struct chat_template *t, const json_t *object, struct fail *why)
{
    static const char *const words[] = { "lines", "filled_lines", "trimmed" };
    int word;
    if (!read_word(object, "parts", words, 3, &word))
        return fail_input(why, "'parts' is one of lines, filled_lines and trimmed");
    t->parts = (enum chat_parts)word;
    return 0;
}

static int read_strips(struct chat_template *t, const json_t *list, struct fail *why)
{
    static const struct {
        const char *word;
        unsigned strip;
    } words[] = { { "system", STRIP_SYSTEM },
                  { "prompt", STRIP_PROMPT },
                  { "answer", STRIP_ANSWER },
                  { "turn", STRIP_TURN } };
    t->strips = list ? 0 : STRIP_SYSTEM | STRIP_PROMPT | STRIP_ANSWER;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        unsigned strip = 0;
        for (size_t k = 0; word && k < sizeof words / sizeof *words; k++)
            if (!strcmp(word, words[k].word)) strip = words[k].strip;
        if (!strip) return fail_input(why, "'strip' is a list of system, prompt, answer and turn");
        t->strips |= strip;
    }
    return list && !json_is_array(list) ? fail_input(why, "'strip' is not a list") : 0;
}

/* ---- special tokens ---- */

static int add_special(struct chat_template *t, const char *text, uint32_t id, struct fail *why)
{
    struct chat_special *s = &t->specials[t->special_count];
    s->id = id;
    s->spaces = tokenizer_special_spaces(t->tokenizer, id);
    s->text = copy_of(text, strlen(text), why);
    if (!s->text) return -1;
    t->special_count++;
    return 0;
}

/* Reads a list of special tokens. A token that the tokenizer lacks is skipped if is_optional, and
 * an error otherwise. */
static int read_list(struct chat_template *t, const json_t *list, const char *key, bool is_optional,
                     struct fail *why)
{
    if (list && !json_is_array(list)) return fail_input(why, "'%s' is not a list", key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !*text) return fail_input(why, "'%s' is not a list of texts", key);
        uint32_t id = tokenizer_special(t->tokenizer, text);
        if (id == UINT32_MAX && is_optional) continue;
        if (id == UINT32_MAX)
            return fail_input(why, "the tokenizer has no token %s: a template for another model?",
                              text);
        if (add_special(t, text, id, why)) return -1;
    }
    return 0;
}

static bool mentions(const json_t *object, const char *mark)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_is_string(value) && strstr(json_string_value(value), mark)) return true;
    }
    return false;
}

/* Reads "special". {bos} and {eos} stand for the tokenizer's own tokens. */
static int read_specials(struct chat_template *t, const json_t *object, struct fail *why)
{
    const json_t *list = json_object_get(object, "special");
    const json_t *optional = json_object_get(object, "optional");
    size_t count = json_array_size(list) + json_array_size(optional);
    uint32_t bos = tokenizer_bos(t->tokenizer), eos = tokenizer_eos(t->tokenizer);
    if (count > CHAT_SPECIALS_MAX)
        return fail_input(why,
                          "'special' and 'optional' hold %zu texts, but at most %d are possible",
                          count, CHAT_SPECIALS_MAX);
    t->specials = calloc(count + 2, sizeof *t->specials);
    if (!t->specials) return fail(why, "out of memory");
    if (read_list(t, list, "special", false, why) || read_list(t, optional, "optional", true, why))
        return -1;
    bool wants_bos = t->adds_bos || strstr(t->begin, "{bos}") || mentions(object, "{bos}");
    bool wants_eos = strstr(t->begin, "{eos}") || mentions(object, "{eos}");
    if (wants_bos && bos == UINT32_MAX) return fail_input(why, "the tokenizer has no BOS");
    if (wants_eos && eos == UINT32_MAX) return fail_input(why, "the tokenizer has no EOS");
    return (wants_bos && add_special(t, "{bos}", bos, why)) ||
                   (wants_eos && add_special(t, "{eos}", eos, why))
               ? -1
               : 0;
}

static int read_end(struct chat_template *t, const json_t *end, struct fail *why)
{
    const char *name = json_string_value(end);
    t->end = end ? UINT32_MAX : tokenizer_eos(t->tokenizer);
    if (!end && t->end == UINT32_MAX) return fail_input(why, "the tokenizer has no EOS");
    for (size_t i = 0; i < t->special_count; i++)
        if (name && t->specials[i].text && !strcmp(t->specials[i].text, name))
            t->end = t->specials[i].id;
    if (t->end == UINT32_MAX) return fail_input(why, "'end' is none of 'special'");
    t->end_spaces = tokenizer_special_spaces(t->tokenizer, t->end);
    return 0;
}

/* ---- the whole template ---- */

static int check_keys(const json_t *object, struct fail *why)
{
    static const char *const known[] = {
        "begin",   "finish",   "system",       "system_turn", "always_system", "own_system",
        "turn",    "turns",    "answer",       "input_turn",  "between",       "following",
        "special", "end",      "optional",     "bos",         "whole",         "counted",
        "strip",   "once",     "never",        "empty",       "last_system",   "thought",
        "waiting", "thinking", "empty_system", "parts",
    };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is_known |= !strcmp(key, known[i]);
        if (!is_known) return fail_input(why, "unknown key '%s'", key);
    }
    return 0;
}

static int read_flags(struct chat_template *t, const json_t *object, struct fail *why)
{
    int64_t turns = 0;
    bool has_system = true, has_empty = true, has_empty_system = true;
    if (json_get_flag(object, "bos", &t->adds_bos, why) ||
        json_get_flag(object, "whole", &t->is_whole, why) ||
        json_get_flag(object, "counted", &t->is_counted, why) ||
        json_get_flag(object, "always_system", &t->always_system, why) ||
        json_get_flag(object, "own_system", &has_system, why) ||
        json_get_flag(object, "last_system", &t->last_system, why) ||
        json_get_flag(object, "empty", &has_empty, why) ||
        json_get_flag(object, "empty_system", &has_empty_system, why) ||
        json_get_count(object, "turns", 1, &turns, why))
        return -1;
    t->refuses_system = !has_system;
    t->refuses_empty = !has_empty;
    t->skips_empty = !has_empty_system;
    t->is_single = turns == 1;
    return 0;
}

/* Returns the length of a word in braces, or of {}, including the braces; 0 if there is none. */
static size_t word_in_braces(const char *at)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_. ";
    size_t length = *at == '{' ? strspn(at + 1, letters) : 0;
    return *at == '{' && at[length + 1] == '}' ? length + 2 : 0;
}

/* Refuses unknown words in braces, because they would go into every conversation as plain text. */
static int check_braces(const json_t *object, struct fail *why)
{
    static const struct {
        const char *key, *known; /* `known`: the known words, with a space after each */
    } texts[] = { { "turn", "{} {system} {bos} {eos} " },
                  { "input_turn", "{} {input} {bos} {eos} " },
                  { "system_turn", "{} {bos} {eos} " },
                  { "answer", "{} {bos} {eos} " },
                  { "thought", "{} {bos} {eos} " },
                  { "waiting", "{bos} {eos} " },
                  { "begin", "{bos} {eos} " },
                  { "finish", "{bos} {eos} " },
                  { "between", "{bos} {eos} " },
                  { "following", "{bos} {eos} " } };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *at = json_string_value(json_object_get(object, texts[i].key));
        for (size_t length; at && *at; at += length ? length : 1) {
            char mark[48];
            length = word_in_braces(at);
            snprintf(mark, sizeof mark, "%.*s ", length < 40 ? (int)length : 40, at);
            if (length && !strstr(texts[i].known, mark))
                return fail_input(why,
                                  "'%s': the placeholder %sis not possible there; possible are %s",
                                  texts[i].key, mark, texts[i].known);
        }
    }
    return 0;
}

static int read_texts(struct chat_template *t, const json_t *object, struct fail *why)
{
    const json_t *system_turn = json_object_get(object, "system_turn");
    const json_t *answer = json_object_get(object, "answer");
    t->has_system_turn = system_turn != NULL;
    return read_text(&t->begin, object, "begin", why) ||
                   read_text(&t->system, object, "system", why) ||
                   read_text(&t->between, object, "between", why) ||
                   read_text(&t->following, object, "following", why) ||
                   read_text(&t->finish, object, "finish", why) ||
                   read_text(&t->once, object, "once", why) ||
                   read_text(&t->never, object, "never", why) ||
                   read_text(&t->waiting, object, "waiting", why) ||
                   read_thinking(t, object, why) || read_parts(t, object, why) ||
                   read_turn(t, json_string_value(json_object_get(object, "turn")), why) ||
                   read_input_turn(t, object, why) ||
                   read_around(&t->system_turn, system_turn ? json_string_value(system_turn) : hole,
                               hole, "system_turn", why) ||
                   read_around(&t->answer, answer ? json_string_value(answer) : hole, hole,
                               "answer", why)
               ? -1
               : 0;
}

/* Computes the digest of the template's values, independent of their order in the file. */
static int read_digest(struct chat_template *t, const json_t *object, struct fail *why)
{
    char *all = NULL;
    t->text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (t->text && asprintf(&all, "%s\n%s\n%s\n%s", t->text, t->begin, t->system, t->finish) < 0)
        all = NULL;
    if (all) digest_of_bytes(all, strlen(all), t->digest);
    free(all);
    return all ? 0 : fail(why, "out of memory");
}

/* Applies changes to the object of a built-in template. */
static int change(json_t *object, const struct chat_changes *changes, struct fail *why)
{
    const struct {
        const char *key, *text;
    } each[] = { { "begin", changes->begin },
                 { "system", changes->system },
                 { "finish", changes->finish } };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        if (each[i].text && json_object_set_new(object, each[i].key, json_string(each[i].text)))
            return fail(why, "out of memory");
    if (!changes->others) return 0;
    json_t *others = json_read_text(changes->others, strlen(changes->others), "changes", why);
    if (!others) return -1;
    int status = json_object_update(object, others);
    json_decref(others);
    return status ? fail(why, "out of memory") : 0;
}

static int read_template(struct chat_template *t, json_t *object,
                         const struct chat_changes *changes, struct fail *why)
{
    if ((changes && change(object, changes, why)) || check_keys(object, why) ||
        check_braces(object, why) || read_texts(t, object, why) || read_flags(t, object, why) ||
        read_strips(t, json_object_get(object, "strip"), why) || read_specials(t, object, why) ||
        read_end(t, json_object_get(object, "end"), why))
        return -1;
    if (t->last_system && (t->strips & STRIP_TURN || t->always_system || *t->system))
        return fail_input(why, "'last_system' cannot be combined with 'system', 'always_system' or "
                               "the 'strip' of a turn");
    if ((*t->once || *t->never) && !t->is_whole)
        return fail_input(why, "'once' and 'never' need 'whole'");
    if (*t->waiting && *t->answer.before)
        return fail_input(why,
                          "'waiting' cannot be combined with a text before an answer ('answer')");
    size_t before = t->has_thought ? strlen(t->thought.before) : 0;
    if (t->has_thought && *t->waiting && strcmp(t->waiting, t->thought.before) != 0 &&
        (strncmp(t->waiting, t->thought.before, before) != 0 ||
         strcmp(t->waiting + before, t->thought.after) != 0))
        return fail_input(why,
                          "'waiting' must be 'thought' without content, or the beginning of that");
    const char *first = *t->begin ? t->begin : *t->lead ? t->lead : t->turn.before;
    t->begins_with_bos = t->adds_bos || !strncmp(first, "{bos}", 5);
    return read_digest(t, object, why);
}

bool chat_template_is_builtin(const char *name) { return chat_builtin(name) != NULL; }

int chat_template_check(const char *name, struct fail *why)
{
    if (chat_builtin(name) || !strcmp(name, "auto") || !access(name, F_OK)) return 0;
    const char *near = chat_builtin_nearest(name);
    return fail_usage(why, "'%s' is neither a template nor a file%s%s%s there are " CHAT_TEMPLATES,
                      name, near ? ": did you mean " : "", near ? near : "", near ? "?" : ":");
}

/* Opens a template from its JSON object. Takes ownership of the object, also on failure. */
static int open_object(struct chat_template *t, const char *name, json_t *object,
                       const struct chat_changes *changes, const struct tokenizer *tokenizer,
                       struct fail *why)
{
    *t = (struct chat_template){ .tokenizer = tokenizer };
    if (!object) return -1;
    t->name = copy_of(name, strlen(name), why);
    int status = !t->name                 ? -1
                 : json_is_object(object) ? read_template(t, object, changes, why)
                                          : fail_input(why, "not a JSON object");
    json_decref(object);
    if (status) chat_template_close(t);
    return status ? fail_in(why, name) : 0;
}

int chat_template_open_changed(struct chat_template *t, const char *name,
                               const struct chat_changes *changes,
                               const struct tokenizer *tokenizer, struct fail *why)
{
    const char *text = chat_builtin(name);
    *t = (struct chat_template){ 0 };
    if (chat_template_check(name, why)) return -1;
    json_t *object =
        text ? json_read_text(text, strlen(text), name, why) : json_read_file(name, why);
    if (open_object(t, name, object, changes, tokenizer, why)) return -1;
    t->is_of_model = text && !chat_builtin_is_of_program(name);
    return 0;
}

int chat_template_open_text(struct chat_template *t, const char *name, const char *text,
                            const struct tokenizer *tokenizer, struct fail *why)
{
    return open_object(t, name, json_read_text(text, strlen(text), name, why), NULL, tokenizer,
                       why);
}

int chat_template_open(struct chat_template *t, const char *name, const struct tokenizer *tokenizer,
                       struct fail *why)
{
    return chat_template_open_changed(t, name, NULL, tokenizer, why);
}

int chat_template_open_stored(struct chat_template *t, const char *name, const char *text,
                              const struct tokenizer *tokenizer, struct fail *why)
{
    *t = (struct chat_template){ 0 };
    if (*text) return chat_template_open_text(t, name, text, tokenizer, why);
    if (chat_template_is_builtin(name)) return chat_template_open(t, name, tokenizer, why);
    return fail_input(why, "trained with the template %.200s, but only its name is stored", name);
}

static void close_around(struct chat_around *a)
{
    free(a->before);
    free(a->after);
}

void chat_template_close(struct chat_template *t)
{
    char *texts[] = { t->name,      t->text,   t->begin, t->system, t->between, t->lead,
                      t->following, t->finish, t->once,  t->never,  t->waiting };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (size_t i = 0; i < t->special_count; i++)
        free(t->specials[i].text);
    free(t->specials);
    close_around(&t->system_turn);
    close_around(&t->turn);
    close_around(&t->answer);
    close_around(&t->thought);
    close_around(&t->input_turn);
    close_around(&t->input);
    *t = (struct chat_template){ 0 };
}
