/* steps.c - reads the normalizers and pre-tokenizers of tokenizer.json. */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/buffer.h"
#include "lib/common/utf8.h"
#include "lib/tokenizer/parts.h"

enum { STEPS_MAX = 64, STEP_TEXT_MAX = 256 };

/* GPT-2's pattern, by which ByteLevel splits unless use_regex is false. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static const char normalizer[] = "normalizer", pre_tokenizer[] = "pre_tokenizer";

void steps_release(struct tokenizer_steps *steps)
{
    for (int i = 0; i < steps->count; i++) {
        free(steps->at[i].text);
        free(steps->at[i].literal);
        splitter_close(steps->at[i].splitter);
    }
    free(steps->at);
    *steps = (struct tokenizer_steps){ 0 };
}

static struct tokenizer_step *add_step(struct tokenizer_steps *steps, enum step_kind kind,
                                       struct fail *why)
{
    if (steps->count == STEPS_MAX) {
        fail_input(why, "there are more than %d normalizers or pre-tokenizers", STEPS_MAX);
        return NULL;
    }
    if (buffer_extend(&steps->at, steps->count, why)) return NULL;
    steps->at[steps->count] = (struct tokenizer_step){ .kind = kind };
    return &steps->at[steps->count++];
}

/* ---- options ---- */

static int read_text(char **to, const json_t *object, const char *where, const char *type,
                     const char *option, struct fail *why)
{
    const char *text = json_string_value(json_object_get(object, option));
    if (!text) return fail_input(why, "%s %s: '%s' is missing or not a text", where, type, option);
    if (strlen(text) > STEP_TEXT_MAX)
        return fail_input(why, "%s %s: '%s' has more than %d bytes", where, type, option,
                          STEP_TEXT_MAX);
    *to = strdup(text);
    return *to ? 0 : fail(why, "out of memory");
}

static int read_flag(bool *to, bool otherwise, const json_t *object, const char *type,
                     const char *option, struct fail *why)
{
    const json_t *value = json_object_get(object, option);
    *to = value ? json_is_true(value) : otherwise;
    if (!value || json_is_boolean(value)) return 0;
    return fail_input(why, "%s %s: '%s' is neither true nor false", pre_tokenizer, type, option);
}

static int read_behavior(struct tokenizer_step *step, const json_t *object, const char *type,
                         bool is_needed, struct fail *why)
{
    static const char *const names[] = { "Removed", "Isolated", "MergedWithPrevious",
                                         "MergedWithNext", "Contiguous" };
    const json_t *value = json_object_get(object, "behavior");
    const char *name = json_string_value(value);
    step->behavior = SPLIT_ISOLATED;
    if (!value && !is_needed) return 0;
    for (int i = 0; name && i < 5; i++)
        if (!strcmp(name, names[i])) {
            step->behavior = (enum split_behavior)i;
            return 0;
        }
    return part_refuse(pre_tokenizer, type, "behavior", why);
}

/* Reads {"String": …} or {"Regex": …}. */
static int read_pattern(struct tokenizer_step *step, const json_t *object, const char *where,
                        const char *type, struct fail *why)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (!literal == !regex || !*(literal ? literal : regex) || json_object_size(pattern) != 1)
        return part_refuse(where, type, "pattern", why);
    if (regex) return splitter_open(&step->splitter, regex, why);
    step->literal = strdup(literal);
    return step->literal ? 0 : fail(why, "out of memory");
}

/* ---- normalizers ---- */

static int read_normalizer(struct tokenizer_steps *steps, const json_t *object, int depth,
                           struct fail *why)
{
    if (!object || json_is_null(object)) return 0;
    const char *type = part_check(normalizer, object, why);
    if (!type) return -1;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(object, "normalizers");
        if (!json_is_array(list) || depth == STEPS_MAX)
            return fail_input(
                why,
                "normalizer Sequence: the list of normalizers is missing or nested too deeply");
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (json_is_null(json_array_get(list, i)))
                return fail_input(why, "normalizer Sequence: one of them is null");
            if (read_normalizer(steps, json_array_get(list, i), depth + 1, why)) return -1;
        }
        return 0;
    }
    if (!strcmp(type, "NFC")) return add_step(steps, STEP_COMPOSE, why) ? 0 : -1;
    bool prepends = !strcmp(type, "Prepend");
    struct tokenizer_step *step = add_step(steps, prepends ? STEP_PREPEND : STEP_REPLACE, why);
    if (!step) return -1;
    if (prepends) {
        /* With an empty `prepend`, the library tokenizers fails on some texts. */
        if (read_text(&step->text, object, normalizer, type, "prepend", why)) return -1;
        return *step->text ? 0 : part_refuse(normalizer, type, "prepend", why);
    }
    if (read_pattern(step, object, normalizer, type, why)) return -1;
    /* A pattern that matches the empty string is refused, because the library tokenizers then
     * inserts the replacement twice at the start of the text. */
    if (step->splitter && splitter_matches_nothing(step->splitter))
        return part_refuse(normalizer, type, "pattern", why);
    return read_text(&step->text, object, normalizer, type, "content", why);
}

/* ---- pre-tokenizers ---- */

static int read_bytes(struct tokenizer *t, const json_t *object, struct fail *why)
{
    bool cuts, adds_space;
    if (read_flag(&adds_space, true, object, "ByteLevel", "add_prefix_space", why) ||
        read_flag(&cuts, true, object, "ByteLevel", "use_regex", why))
        return -1;
    /* The library tokenizers requires this key. */
    if (!json_object_get(object, "add_prefix_space"))
        return fail_input(why, "%s ByteLevel: 'add_prefix_space' is missing", pre_tokenizer);
    struct tokenizer_step *step = add_step(&t->pre_tokenizers, STEP_BYTES, why);
    if (!step) return -1;
    step->adds_space = adds_space;
    t->is_byte_level = true;
    return cuts ? splitter_open(&step->splitter, gpt2_pattern, why) : 0;
}

/* Does the library tokenizers always know which span is the first one of the text? It traces the
 * span's first character back to the original text. That is reliable only if earlier steps prepend
 * and cut nothing, and replace only single characters. */
static bool may_be_first(const struct tokenizer *t)
{
    for (int i = 0; i < t->normalizers.count; i++) {
        const struct tokenizer_step *step = &t->normalizers.at[i];
        const char *literal = step->kind == STEP_REPLACE ? step->literal : NULL;
        if (!literal || utf8_length((unsigned char)*literal) != strlen(literal) || !*step->text)
            return false;
    }
    return !t->pre_tokenizers.count;
}

static int read_metaspace(struct tokenizer *t, const json_t *object, struct fail *why)
{
    static const char *const schemes[] = { "always", "first", "never" };
    const char *mark = json_string_value(json_object_get(object, "replacement"));
    const json_t *value = json_object_get(object, "prepend_scheme");
    const json_t *adds = json_object_get(object, "add_prefix_space");
    const char *scheme = value ? json_string_value(value) : "always";
    struct tokenizer_step *step = NULL;
    int which = -1;
    if (!mark || !*mark || utf8_length((unsigned char)*mark) != strlen(mark))
        return part_refuse(pre_tokenizer, "Metaspace", "replacement", why);
    for (int i = 0; scheme && i < 3; i++)
        if (!strcmp(scheme, schemes[i])) which = i;
    if (which < 0 || (which == PREPEND_FIRST && !may_be_first(t)))
        return part_refuse(pre_tokenizer, "Metaspace", "prepend_scheme", why);
    if (adds && !json_is_boolean(adds) && !json_is_null(adds))
        return part_refuse(pre_tokenizer, "Metaspace", "add_prefix_space", why);
    if (json_is_false(adds)) {
        if (which != PREPEND_NEVER)
            return part_refuse(pre_tokenizer, "Metaspace", "add_prefix_space", why);
        which = PREPEND_NEVER;
    }
    step = add_step(&t->pre_tokenizers, STEP_METASPACE, why);
    if (!step) return -1;
    step->scheme = (enum prepend_scheme)which;
    if (json_is_null(json_object_get(object, "split")))
        step->splits = true;
    else if (read_flag(&step->splits, true, object, "Metaspace", "split", why))
        return -1;
    return read_text(&step->text, object, pre_tokenizer, "Metaspace", "replacement", why);
}

static int read_simple(struct tokenizer *t, const char *type, const json_t *object,
                       struct fail *why)
{
    enum step_kind kind = !strcmp(type, "Split")         ? STEP_SPLIT
                          : !strcmp(type, "Digits")      ? STEP_DIGITS
                          : !strcmp(type, "Punctuation") ? STEP_PUNCTUATION
                          : !strcmp(type, "Whitespace")  ? STEP_WORDS
                                                         : STEP_SPACES;
    struct tokenizer_step *step = add_step(&t->pre_tokenizers, kind, why);
    bool is_single;
    if (!step) return -1;
    step->behavior = SPLIT_REMOVED;
    if (kind == STEP_DIGITS) {
        if (!json_object_get(object, "individual_digits"))
            return fail_input(why, "%s Digits: 'individual_digits' is missing", pre_tokenizer);
        if (read_flag(&is_single, false, object, type, "individual_digits", why)) return -1;
        step->behavior = is_single ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    }
    if (kind == STEP_PUNCTUATION) return read_behavior(step, object, type, false, why);
    if (kind != STEP_SPLIT) return 0;
    if (!json_object_get(object, "invert"))
        return fail_input(why, "%s Split: 'invert' is missing", pre_tokenizer);
    if (read_flag(&step->inverts, false, object, type, "invert", why) ||
        read_behavior(step, object, type, true, why))
        return -1;
    return read_pattern(step, object, pre_tokenizer, type, why);
}

static int read_pre_tokenizer(struct tokenizer *t, const json_t *object, int depth,
                              struct fail *why)
{
    if (!object || json_is_null(object)) return 0;
    const char *type = part_check(pre_tokenizer, object, why);
    if (!type) return -1;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(object, "pretokenizers");
        if (!json_is_array(list) || depth == STEPS_MAX)
            return fail_input(why, "pre_tokenizer Sequence: the list of pre-tokenizers is missing "
                                   "or nested too deeply");
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (json_is_null(json_array_get(list, i)))
                return fail_input(why, "pre_tokenizer Sequence: one of them is null");
            if (read_pre_tokenizer(t, json_array_get(list, i), depth + 1, why)) return -1;
        }
        return 0;
    }
    /* ByteLevel must be the last step, because it replaces bytes by characters. */
    if (t->is_byte_level) return part_refuse(pre_tokenizer, "ByteLevel", NULL, why);
    if (!strcmp(type, "ByteLevel")) return read_bytes(t, object, why);
    if (!strcmp(type, "Metaspace")) return read_metaspace(t, object, why);
    return read_simple(t, type, object, why);
}

/* Is NFC the first normalizer? */
static bool composes(const struct tokenizer *t)
{
    return t->normalizers.count && t->normalizers.at[0].kind == STEP_COMPOSE;
}

/* If the only step splits by one pattern, returns the splitter of that step, because whole texts
 * can then be split directly. A step before it that isolates digits may become part of the
 * splitter. */
static const struct splitter *find_only_splitter(const struct tokenizer *t)
{
    const struct tokenizer_steps *c = &t->pre_tokenizers;
    if (!t->is_byte_level || c->count > 2) return NULL;
    if (t->normalizers.count > 1 || (t->normalizers.count && !composes(t))) return NULL;
    const struct tokenizer_step *last = &c->at[c->count - 1], *split = &c->at[0];
    if (last->adds_space) return NULL;
    if (c->count == 1) return last->splitter;
    if (split->kind == STEP_DIGITS && split->behavior == SPLIT_ISOLATED && last->splitter)
        return splitter_follow_digits(last->splitter) ? last->splitter : NULL;
    if (split->kind != STEP_SPLIT || !split->splitter || last->splitter) return NULL;
    /* SPLIT_REMOVED with invert removes the text between matches. If the matches cover every text,
     * there is nothing between them. */
    bool keeps_all = split->behavior == SPLIT_REMOVED && split->inverts;
    bool is_plain = split->behavior == SPLIT_ISOLATED;
    return is_plain || (keeps_all && splitter_covers(split->splitter)) ? split->splitter : NULL;
}

int steps_read(struct tokenizer *t, const json_t *normalizers, const json_t *pre_tokenizers,
               struct fail *why)
{
    if (read_normalizer(&t->normalizers, normalizers, 0, why) ||
        read_pre_tokenizer(t, pre_tokenizers, 0, why))
        return -1;
    t->splitter = find_only_splitter(t);
    t->composes = t->splitter && composes(t);
    return 0;
}
