/* pretokenize.c - cuts text into the pre-tokens of a byte-level BPE with a regular expression, by
 * PCRE2.
 *
 * A pattern may take exponential time, and PCRE2's match limit does not count all steps. So a match
 * is first tried on a short part of the text with a low limit. If the result does not depend on
 * bytes after that part (PCRE2_PARTIAL_HARD shows this), it holds for the whole text. Otherwise the
 * pattern is matched again with a callout at each item of the pattern. The callout counts one step
 * for the item and one for each byte that the position has moved.
 */
#include "lib/common/utf8.h"
#include "lib/tokenizer/oniguruma.h"
#include "lib/tokenizer/scanner.h"
#include "lib/tokenizer/tokenizer_internal.h"
#include "lib/tokenizer/unicode_tables.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { PIECE = 128, TRIES = 128 };

struct splitter {
    pcre2_code *code, *counted; /* code: the pattern; counted: the same pattern with callouts */
    /* Matches a run of the class of oniguruma_pattern.run; NULL if there is none. */
    pcre2_code *run;
    char *pattern;
    /* Cuts most text in place of the pattern; NULL if there is none. */
    const struct scanner *scanner;
    bool is_compiled; /* code, counted and run are compiled to machine code */
    bool keeps_unassigned;
    /* One bit for each page of 64 characters: set if some of them must be replaced. NULL: none. */
    uint64_t *late;
};

struct split_work {
    const char *text; /* the text to cut, or a copy in which characters are replaced */
    size_t bytes;
    char *copy;
    size_t copy_capacity;
    uint64_t steps; /* steps that are left for this text */
    uint64_t spare; /* steps that are left of SPLIT_STEPS_LEAST, the constant part of the limit */
    size_t place;   /* the position at the last callout */
    pcre2_match_data *found;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

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
    (void)fail_input(why, "the pattern cannot be used: %s", (char *)text);
    return NULL;
}

/* Finds the pages that contain characters to be replaced (unicode_stand_in). */
static int find_late(struct splitter *s, struct fail *why)
{
    enum { PAGES = 0x110000 / 64 };
    s->late = calloc(PAGES / 64, sizeof *s->late);
    if (!s->late) return fail(why, "out of memory");
    for (int i = 0; i < unicode_late_count; i++)
        for (uint32_t page = unicode_late[i].first / 64; page <= unicode_late[i].last / 64; page++)
            s->late[page / 64] |= UINT64_C(1) << (page % 64);
    return 0;
}

static int open_run(struct splitter *s, const char *class, struct fail *why)
{
    char *text = NULL;
    if (!class) return 0;
    if (asprintf(&text, "%s++", class) < 0) return fail(why, "out of memory");
    s->run = compile(text, 0, why);
    free(text);
    return s->run ? 0 : -1;
}

int splitter_open(struct splitter **out, const char *pattern, struct fail *why)
{
    struct splitter *s = *out = calloc(1, sizeof *s);
    struct oniguruma_pattern p;
    if (!s) return fail(why, "out of memory");
    if (oniguruma_translate(&p, pattern, why)) return -1;
    s->pattern = strdup(pattern);
    s->scanner = scanner_find(pattern, false);
    s->keeps_unassigned = p.keeps_unassigned;
    s->code = compile(p.text, 0, why);
    if (s->code) s->counted = compile(p.text, PCRE2_AUTO_CALLOUT, why);
    free(p.text);
    int status = s->counted ? open_run(s, p.run, why) : -1;
    free(p.run);
    if (status) return -1;
    if (!s->pattern) return fail(why, "out of memory");
    if (p.uses_tables && find_late(s, why)) return -1;
    s->is_compiled = !pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) &&
                     !pcre2_jit_compile(s->counted, PCRE2_JIT_COMPLETE) &&
                     (!s->run || !pcre2_jit_compile(s->run, PCRE2_JIT_COMPLETE));
    return 0;
}

bool splitter_matches_nothing(const struct splitter *s)
{
    uint32_t does = 0;
    return !pcre2_pattern_info(s->code, PCRE2_INFO_MATCHEMPTY, &does) && does;
}

void splitter_close(struct splitter *s)
{
    if (s) {
        pcre2_code_free(s->code);
        pcre2_code_free(s->counted);
        pcre2_code_free(s->run);
        free(s->pattern);
        free(s->late);
    }
    free(s);
}

void split_work_release(struct split_work *w)
{
    if (!w) return;
    pcre2_match_data_free(w->found);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    free(w->copy);
    free(w);
}

/* PCRE2 calls this function at each item of a pattern. It counts steps, and stops the match when
 * none are left. */
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

/* Matches the pattern at position `at` of the first `bytes` bytes of the text. */
static int match(const struct splitter *s, struct split_work *w, size_t bytes, size_t at,
                 bool is_counted, bool is_piece)
{
    const char *text = w->text;
    const pcre2_code *code = is_counted ? s->counted : s->code;
    uint32_t options = is_piece ? PCRE2_PARTIAL_HARD : 0;
    w->place = at;
    pcre2_set_match_limit(w->context, is_counted ? UINT32_MAX : TRIES);
    if (s->is_compiled)
        return pcre2_jit_match(code, (PCRE2_SPTR)text, bytes, at, options, w->found, w->context);
    return pcre2_match(code, (PCRE2_SPTR)text, bytes, at, options | PCRE2_NO_UTF_CHECK, w->found,
                       w->context);
}

static int match_at(const struct splitter *s, struct split_work *w, size_t at)
{
    size_t end = at + PIECE;
    if (w->bytes - at <= PIECE) end = w->bytes;
    while (end < w->bytes && ((unsigned char)w->text[end] & 0xc0) == 0x80)
        end++;
    int got = match(s, w, end, at, false, end < w->bytes);
    if (got != PCRE2_ERROR_PARTIAL && got != PCRE2_ERROR_MATCHLIMIT) return got;
    return match(s, w, w->bytes, at, true, false);
}

static int fail_pattern(const struct splitter *s, int error, size_t at, size_t bytes,
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

/* If the text has characters that must be replaced, makes a copy with their replacements. */
static int put_stand_ins(const struct splitter *s, struct split_work *w, struct fail *why)
{
    bool is_copied = false;
    for (size_t at = 0, n; at < w->bytes; at += n) {
        n = 1;
        if ((unsigned char)w->text[at] < 0x80) continue;
        uint32_t c = utf8_decode(w->text + at, &n), page = c / 64;
        if (!(s->late[page / 64] >> (page % 64) & 1)) continue;
        uint32_t other = unicode_stand_in(c);
        bool is_nothing = other == UNICODE_NOTHING_OF_3 || other == UNICODE_NOTHING_OF_4;
        if (other == c || (is_nothing && s->keeps_unassigned)) continue;
        if (!is_copied) {
            if (tokenizer_reserve(&w->copy, &w->copy_capacity, 0, w->bytes, why)) return -1;
            memcpy(w->copy, w->text, w->bytes);
            w->text = w->copy;
            is_copied = true;
        }
        utf8_encode(other, w->copy + at);
    }
    return 0;
}

int split_work_begin(struct split_work **work, struct fail *why)
{
    if (prepare(work, why)) return -1;
    (*work)->steps = (*work)->spare = SPLIT_STEPS_LEAST;
    return 0;
}

int splitter_begin(const struct splitter *s, struct split_work *w, const char *text, size_t bytes,
                   struct fail *why)
{
    w->text = text;
    w->bytes = bytes;
    if (w->steps < w->spare) w->spare = w->steps;
    w->steps = w->spare + (uint64_t)SPLIT_STEPS_EACH * bytes;
    return s->late ? put_stand_ins(s, w, why) : 0;
}

/* Returns where the pattern may match next, after it does not match at position `at`. */
static size_t next_place(const struct splitter *s, struct split_work *w, size_t at)
{
    size_t next = at + utf8_length((unsigned char)w->text[at]);
    const char *text = w->text;
    if (!s->run) return next;
    pcre2_set_match_limit(w->context, UINT32_MAX);
    int got = s->is_compiled
                  ? pcre2_jit_match(s->run, (PCRE2_SPTR)text, w->bytes, at, 0, w->found, w->context)
                  : pcre2_match(s->run, (PCRE2_SPTR)text, w->bytes, at, PCRE2_NO_UTF_CHECK,
                                w->found, w->context);
    return got > 0 ? pcre2_get_ovector_pointer(w->found)[1] : next;
}

int splitter_next(const struct splitter *s, struct split_work *w, size_t from, size_t *start,
                  size_t *end, struct fail *why)
{
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(w->found);
    for (size_t at = from;;) {
        int got = match_at(s, w, at);
        if (got < 0 && got != PCRE2_ERROR_NOMATCH) return fail_pattern(s, got, at, w->bytes, why);
        if (got >= 0) {
            *start = range[0];
            *end = range[1];
            return 1;
        }
        if (at >= w->bytes) return 0;
        at = next_place(s, w, at);
    }
}

static void begin(uint64_t *starts, size_t at) { starts[at / 64] |= UINT64_C(1) << (at % 64); }

/* Returns the end of a match as if an earlier step had isolated each digit, so that the pattern had
 * seen only the text between two digits. */
static size_t end_by_digits(const char *text, size_t bytes, size_t start, size_t end)
{
    bool is_space = false;
    size_t n;
    for (size_t at = start; at < end; at += n) {
        uint32_t c = utf8_decode(text + at, &n);
        if (unicode_is_numeric(c)) return at > start ? at : at + n;
        is_space = unicode_is_space(c);
    }
    /* A run of spaces leaves its last space to what follows, but not to a digit. */
    if (end == bytes || !is_space || !unicode_is_space(utf8_decode(text + end, &n))) return end;
    size_t next = end + n;
    return next < bytes && unicode_is_numeric(utf8_decode(text + next, &n)) ? next : end;
}

bool splitter_covers(const struct splitter *s) { return s->scanner != NULL; }

bool splitter_follow_digits(struct splitter *s)
{
    const struct scanner *scanner = scanner_find(s->pattern, true);
    if (scanner) s->scanner = scanner;
    return scanner != NULL;
}

int splitter_cut(const struct splitter *s, struct split_work **work, uint64_t *starts,
                 const char *text, size_t bytes, struct fail *why)
{
    size_t start, end;
    bool has_begun = false;
    memset(starts, 0, (bytes / 64 + 1) * sizeof *starts);
    if (bytes) begin(starts, 0);
    for (size_t at = 0; at < bytes;) {
        if (s->scanner) at = scanner_cut(s->scanner, starts, text, bytes, at);
        if (at == bytes) {
            begin(starts, at);
            return 0;
        }
        if (!has_begun &&
            (split_work_begin(work, why) || splitter_begin(s, *work, text, bytes, why)))
            return -1;
        has_begun = true;
        int got = splitter_next(s, *work, at, &start, &end, why);
        if (got <= 0) return got;
        if (s->scanner && scanner_is_after_digits(s->scanner))
            end = end_by_digits(text, bytes, start, end);
        /* The text between two matches is a pre-token too. */
        begin(starts, start);
        begin(starts, end);
        at = end > start ? end : end < bytes ? end + utf8_length((unsigned char)text[end]) : bytes;
    }
    return 0;
}
