/* Cuts text into the units of a byte-level BPE by its regular expression, with PCRE2.
 *
 * A pattern may take any time, and PCRE2's own limit counts only some of it. So a match is first
 * tried in a short piece of the text and with few tries: where it depends on nothing behind the
 * piece (PCRE2_PARTIAL_HARD tells) it is that of the whole text. Else the pattern is matched anew
 * with a call at each of its items, which counts by how much the place has moved. */
#include "tokenizer_model.h"
#include "utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { PIECE = 128, TRIES = 128 };

struct splitter {
    pcre2_code *code, *counted; /* the same pattern */
    char *pattern;
    bool is_compiled; /* to machine code, both */
};

struct split_work {
    uint64_t steps; /* left for this text */
    size_t place;   /* in it, at the last call */
    pcre2_match_data *found;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* Characters with the property White_Space: what \s is to Hugging Face's tokenizers. PCRE2's has
 * U+180E besides. */
#define SPACES                                                                                     \
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}"

/* What such patterns are written for, Oniguruma, takes otherwise than PCRE2: classes in classes,
 * beginnings of lines, flags. (Ends of lines, too; but cl100k's \s++$ is one for both.) Its letters
 * if something of the kind begins here, else NULL. */
static const char *taken_otherwise(const char *at, bool in_class)
{
    static const char *const anywhere[] = { "\\h", "\\H", "\\Q" }, *const inside[] = { "[", "&&" },
                             *const outside[] = { "^", "(*", "[]", "[^]" };
    const char *const *list = in_class ? inside : outside;
    int count = in_class ? 2 : 4;
    for (int i = 0; i < 3; i++)
        if (!strncmp(at, anywhere[i], 2)) return anywhere[i];
    for (int i = 0; i < count; i++)
        if (!strncmp(at, list[i], strlen(list[i]))) return list[i];
    if (in_class || strncmp(at, "(?", 2) != 0) return NULL;
    const char *flag = at + 2 + strspn(at + 2, "i-");
    return *flag == 'm' ? "(?m" : *flag == 's' ? "(?s" : *flag == 'x' ? "(?x" : NULL;
}

static char *spell_spaces(const char *pattern, struct fail *why)
{
    char *out = malloc(strlen(pattern) * (sizeof SPACES + 3) + 1), *to = out;
    bool in_class = false;
    if (!out) {
        fail(why, "out of memory");
        return NULL;
    }
    for (const char *at = pattern; *at; at++) {
        bool is_space = at[0] == '\\' && at[1] == 's', is_other = at[0] == '\\' && at[1] == 'S';
        const char *refused = is_other && in_class ? "\\S" : taken_otherwise(at, in_class);
        if (refused) {
            fail_input(why, "a pattern with %s%s is not done here", refused,
                       in_class ? " in brackets" : "");
            free(out);
            return NULL;
        }
        if (is_space || is_other) {
            to = stpcpy(to, in_class ? "" : is_other ? "[^" : "[");
            to = stpcpy(to, SPACES);
            to = stpcpy(to, in_class ? "" : "]");
            at++;
            continue;
        }
        if (*at == '[')
            in_class = true;
        else if (*at == ']')
            in_class = false;
        else if (*at == '\\' && at[1])
            *to++ = *at++;
        *to++ = *at;
    }
    *to = 0;
    return out;
}

static pcre2_code *compile(const char *pattern, uint32_t options, struct fail *why)
{
    int error;
    PCRE2_SIZE place;
    options |= PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_ANCHORED;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &error, &place, NULL);
    if (code) return code;
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(error, text, sizeof text);
    (void)fail_input(why, "its pattern cannot be used: %s", (char *)text);
    return NULL;
}

int splitter_open(struct splitter **out, const char *pattern, struct fail *why)
{
    struct splitter *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, "out of memory");
    if (strlen(pattern) > SPLIT_PATTERN_MAX)
        return fail_input(why, "a pattern of %zu bytes, at most %d", strlen(pattern),
                          SPLIT_PATTERN_MAX);
    s->pattern = strdup(pattern);
    if (!s->pattern) return fail(why, "out of memory");
    char *spelled = spell_spaces(pattern, why);
    if (!spelled) return -1;
    s->code = compile(spelled, 0, why);
    if (s->code) s->counted = compile(spelled, PCRE2_AUTO_CALLOUT, why);
    free(spelled);
    if (!s->counted) return -1;
    s->is_compiled = !pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) &&
                     !pcre2_jit_compile(s->counted, PCRE2_JIT_COMPLETE);
    return 0;
}

void splitter_close(struct splitter *s)
{
    if (s) {
        pcre2_code_free(s->code);
        pcre2_code_free(s->counted);
        free(s->pattern);
    }
    free(s);
}

void split_work_release(struct split_work *w)
{
    if (!w) return;
    pcre2_match_data_free(w->found);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    free(w);
}

/* At each item of a pattern that is matched. */
static int count_steps(pcre2_callout_block *at, void *work)
{
    struct split_work *w = work;
    size_t from = w->place, to = w->place = at->current_position;
    uint64_t steps = 1 + (uint64_t)(to > from ? to - from : from - to);
    if (steps > w->steps) return PCRE2_ERROR_MATCHLIMIT;
    w->steps -= steps;
    return 0;
}

static int prepare(struct split_work **out, struct fail *why)
{
    enum { STACK_LEAST = 32 << 10 };
    if (*out) return 0;
    struct split_work *w = *out = calloc(1, sizeof *w);
    if (w) w->found = pcre2_match_data_create(1, NULL);
    if (w) w->context = pcre2_match_context_create(NULL);
    if (w) w->stack = pcre2_jit_stack_create(STACK_LEAST, SPLIT_STACK_MAX, NULL);
    if (!w || !w->found || !w->context || !w->stack) return fail(why, "out of memory");
    pcre2_jit_stack_assign(w->context, NULL, w->stack);
    pcre2_set_heap_limit(w->context, SPLIT_STACK_MAX >> 10);
    pcre2_set_depth_limit(w->context, UINT32_MAX);
    pcre2_set_callout(w->context, count_steps, w);
    return 0;
}

/* A match of the text's first `bytes` bytes that begins at `at`. */
static int match(const struct splitter *s, struct split_work *w, const char *text, size_t bytes,
                 size_t at, bool is_counted, bool is_piece)
{
    const pcre2_code *code = is_counted ? s->counted : s->code;
    uint32_t options = is_piece ? PCRE2_PARTIAL_HARD : 0;
    w->place = at;
    pcre2_set_match_limit(w->context, is_counted ? UINT32_MAX : TRIES);
    if (s->is_compiled)
        return pcre2_jit_match(code, (PCRE2_SPTR)text, bytes, at, options, w->found, w->context);
    return pcre2_match(code, (PCRE2_SPTR)text, bytes, at, options | PCRE2_NO_UTF_CHECK, w->found,
                       w->context);
}

static int match_at(const struct splitter *s, struct split_work *w, const char *text, size_t bytes,
                    size_t at)
{
    size_t end = at + PIECE;
    if (bytes - at <= PIECE) end = bytes;
    while (end < bytes && ((unsigned char)text[end] & 0xc0) == 0x80)
        end++;
    int got = match(s, w, text, end, at, false, end < bytes);
    if (got != PCRE2_ERROR_PARTIAL && got != PCRE2_ERROR_MATCHLIMIT) return got;
    return match(s, w, text, bytes, at, true, false);
}

static int blame_pattern(const struct splitter *s, int error, size_t at, size_t bytes,
                         struct fail *why)
{
    bool is_time = error == PCRE2_ERROR_MATCHLIMIT;
    if (is_time || error == PCRE2_ERROR_JIT_STACKLIMIT || error == PCRE2_ERROR_HEAPLIMIT)
        return fail_input(why, "pattern %.80s takes too %s on a text of %zu bytes, at byte %zu",
                          s->pattern, is_time ? "long" : "much memory", bytes, at);
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(error, message, sizeof message);
    return fail_input(why, "byte %zu: pattern %.80s fails: %s", at, s->pattern, (char *)message);
}

static void begin(uint64_t *starts, size_t at) { starts[at / 64] |= UINT64_C(1) << (at % 64); }

int splitter_cut(const struct splitter *s, struct split_work **work, uint64_t *starts,
                 const char *text, size_t bytes, struct fail *why)
{
    if (prepare(work, why)) return -1;
    struct split_work *w = *work;
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(w->found);
    w->steps = SPLIT_STEPS_LEAST + (uint64_t)SPLIT_STEPS_EACH * bytes;
    memset(starts, 0, (bytes / 64 + 1) * sizeof *starts);
    if (bytes) begin(starts, 0);
    for (size_t at = 0; at < bytes;) {
        size_t next = at + utf8_length((unsigned char)text[at]);
        int got = match_at(s, w, text, bytes, at);
        if (got < 0 && got != PCRE2_ERROR_NOMATCH) return blame_pattern(s, got, at, bytes, why);
        if (got >= 0) {
            /* What stands between two matches is a unit too. */
            begin(starts, range[0]);
            begin(starts, range[1]);
            next = range[1] > at ? range[1] : next;
        }
        at = next;
    }
    return 0;
}
