/* oniguruma.c - translates Oniguruma's patterns to PCRE2's syntax, item by item. */
#include "lib/tokenizer/oniguruma.h"

#include "lib/tokenizer/unicode_tables.h"

#include <stdlib.h>
#include <string.h>

#define WORD_CLASS "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]"
#define AT_EDGE "(?:(?<=" WORD_CLASS ")(?!" WORD_CLASS ")|(?<!" WORD_CLASS ")(?=" WORD_CLASS "))"
#define NO_EDGE "(?:(?<=" WORD_CLASS ")(?=" WORD_CLASS ")|(?<!" WORD_CLASS ")(?!" WORD_CLASS "))"
#define NOWHERE SIZE_MAX

struct writing {
    struct oniguruma_scan scan;
    struct oniguruma_text out;
    /* Where the item that a quantifier would apply to begins in `out`; NOWHERE if there is none. */
    size_t atom;
    uint32_t last; /* the ASCII letter that was read last, in lower case; 0 if there is none */
    bool is_class; /* the item that was read last is an escape that denotes a class */
    char *run;     /* becomes oniguruma_pattern.run */
};

void oniguruma_fail_at(const struct oniguruma_scan *s, const char *what)
{
    (void)fail_input(s->why, "a pattern with %s is not supported", what);
}

static void put(struct writing *w, const char *text) { oniguruma_put(&w->out, text, strlen(text)); }

static bool starts_with(const char *text, const char *start)
{
    return !strncmp(text, start, strlen(start));
}

/* ---- quantifiers ---- */

/* Puts (?:…) around the last item and its interval. */
static void wrap_atom(struct writing *w)
{
    size_t from = w->atom, bytes = w->out.used - from;
    oniguruma_put(&w->out, "    ", 4);
    if (w->out.is_lost) return;
    memmove(w->out.at + from + 3, w->out.at + from, bytes);
    memcpy(w->out.at + from, "(?:", 3);
    w->out.at[w->out.used - 1] = ')';
}

/* Returns the length of {n}, {n,} or {n,m} at the brace; 0 if the text is none of them. */
static size_t interval_length(const char *at, bool *is_fixed)
{
    static const char digits[] = "0123456789";
    size_t first = strspn(at + 1, digits), n = 1 + first;
    if (!first) return 0;
    *is_fixed = at[n] == '}';
    if (at[n] == ',') n += 1 + strspn(at + n + 1, digits);
    return at[n] == '}' ? n + 1 : 0;
}

static int end_quantifier(struct writing *w)
{
    w->atom = NOWHERE;
    if (*w->scan.at && strchr("*+?", *w->scan.at))
        return oniguruma_refuse(&w->scan, "one quantifier after another");
    return 0;
}

/* In Oniguruma {n,m}+ repeats the interval (it is not possessive), and {n}? makes it optional (it
 * is not lazy). */
static int read_interval(struct writing *w, size_t bytes, bool is_fixed)
{
    unsigned long min = strtoul(w->scan.at + 1, NULL, 10);
    const char *comma = memchr(w->scan.at, ',', bytes);
    if (comma && comma[1] != '}' && strtoul(comma + 1, NULL, 10) < min)
        return oniguruma_refuse(&w->scan, "an interval that goes backwards");
    oniguruma_put(&w->out, w->scan.at, bytes);
    w->scan.at += bytes;
    char next = *w->scan.at;
    if (next == '+' || (next == '?' && is_fixed)) wrap_atom(w);
    if (next == '+' || next == '?') {
        oniguruma_put(&w->out, &next, 1);
        w->scan.at++;
    }
    return end_quantifier(w);
}

static int read_quantifier(struct writing *w)
{
    if (*w->scan.at == '+' && w->is_class && !w->atom && !w->scan.depth && !w->out.is_lost)
        w->run = strndup(w->out.at, w->out.used);
    oniguruma_put(&w->out, w->scan.at++, 1);
    if (*w->scan.at == '?' || *w->scan.at == '+') oniguruma_put(&w->out, w->scan.at++, 1);
    return end_quantifier(w);
}

/* ---- items ---- */

static int read_alternatives(struct writing *w);

static int begin_atom(struct writing *w)
{
    w->atom = w->out.used;
    w->last = 0;
    w->is_class = false;
    return 0;
}

/* Reads the flags of (?…) or (?…:. Only i is supported. */
static int read_flags(struct writing *w, bool *has_colon)
{
    bool is_on = true;
    for (w->scan.at += 2; *w->scan.at != ')' && *w->scan.at != ':'; w->scan.at++) {
        if (*w->scan.at == '-') {
            is_on = false;
        } else if (*w->scan.at == 'i') {
            w->scan.ignores_case = is_on;
        } else {
            char shown[8];
            snprintf(shown, sizeof shown, "(?%s%.1s", is_on ? "" : "-", w->scan.at);
            return oniguruma_refuse(&w->scan, shown);
        }
    }
    *has_colon = *w->scan.at++ == ':';
    return 0;
}

/* Reads a group. A group that has only flags, (?i), applies up to the end of the enclosing group.
 * It is written as a group that reaches to that end. */
static int read_group(struct writing *w)
{
    static const char *const same[] = { "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!" };
    size_t atom = w->out.used;
    bool ignored_case = w->scan.ignores_case, has_end = true;
    if (starts_with(w->scan.at, "(*")) return oniguruma_refuse(&w->scan, "(*");
    if (w->scan.depth >= ONIGURUMA_DEPTH_MAX)
        return oniguruma_refuse(&w->scan, "groups that are nested too deeply");
    const char *kept = NULL;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (starts_with(w->scan.at, same[i])) kept = same[i];
    if (kept) {
        put(w, kept);
        w->scan.at += strlen(kept);
    } else if (w->scan.at[1] == '?') {
        if (read_flags(w, &has_end)) return -1;
        put(w, w->scan.ignores_case ? "(?i:" : "(?-i:");
    } else { /* a capturing group; it is written without capturing, because nothing refers to it */
        put(w, "(?:");
        w->scan.at++;
    }
    w->scan.depth++;
    int status = read_alternatives(w);
    w->scan.depth--;
    if (status) return -1;
    put(w, ")");
    w->scan.ignores_case = ignored_case;
    w->atom = has_end ? atom : NOWHERE;
    w->last = 0;
    w->is_class = false;
    if (!has_end) return 0;
    if (*w->scan.at != ')') return oniguruma_refuse(&w->scan, "( without )");
    w->scan.at++;
    return 0;
}

/* Refuses pairs of letters that Oniguruma treats specially under (?i). Oniguruma matches ß with ss,
 * and ligatures with their letters. */
static int check_letters(struct writing *w, uint32_t c)
{
    static const char pairs[] = "ss ff fi fl st";
    uint32_t letter = c < 128 && unicode_is_word(c) ? c | 0x20 : 0;
    char pair[3] = { (char)w->last, (char)letter, 0 };
    if (w->scan.ignores_case && w->last && letter && strstr(pairs, pair)) {
        char shown[24];
        snprintf(shown, sizeof shown, "%s under (?i)", pair);
        return oniguruma_refuse(&w->scan, shown);
    }
    begin_atom(w);
    w->last = letter;
    return 0;
}

/* Returns the translation of an escape that is an assertion or matches several characters. */
static const char *find_special(const char *at)
{
    static const struct {
        const char *escape, *written;
    } specials[] = {
        { "\\A", "\\A" },         { "\\z", "\\z" },
        { "\\Z", "(?=\\n?\\z)" }, { "\\b", AT_EDGE },
        { "\\B", NO_EDGE },       { "\\N", "[^\\n]" },
        { "\\O", "(?s:.)" },      { "\\R", "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])" },
    };
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (starts_with(at, specials[i].escape)) return specials[i].written;
    return NULL;
}

static int read_literal(struct writing *w)
{
    uint32_t c;
    const char *at = w->scan.at;
    bool ignores_case = w->scan.ignores_case;
    w->scan.ignores_case = false;
    int status = oniguruma_read_character(&w->scan, &c);
    w->scan.ignores_case = ignores_case;
    if (status) return -1;
    if (ignores_case && c > 127 && unicode_is_word(c)) {
        w->scan.at = at;
        return oniguruma_refuse(&w->scan, "a letter beyond ASCII under (?i)");
    }
    if (check_letters(w, c)) return -1;
    oniguruma_note_range(&w->scan, c, c);
    oniguruma_put_character(&w->out, c);
    return 0;
}

static int read_escape(struct writing *w)
{
    struct oniguruma_set set;
    const char *special = find_special(w->scan.at);
    if (special) {
        if (w->scan.ignores_case && special[0] == '(' && special[2] == ':')
            return oniguruma_refuse(&w->scan, "\\b under (?i)");
        begin_atom(w);
        w->scan.uses_tables |= special[0] == '(' && special[2] == ':';
        put(w, special);
        w->scan.at += 2;
        return 0;
    }
    int got = oniguruma_read_set(&w->scan, false, &set);
    if (got < 0) return -1;
    if (!got) return read_literal(w);
    begin_atom(w);
    put(w, set.is_negated ? "[^" : "[");
    put(w, set.inside);
    put(w, "]");
    w->is_class = true;
    return 0;
}

/* Forgets the run, because another alternative may match where the first one does not. */
static void forget_run(struct writing *w)
{
    free(w->run);
    w->run = NULL;
}

static int read_item(struct writing *w)
{
    size_t interval;
    bool is_fixed = false;
    switch (*w->scan.at) {
    case '|':
        put(w, "|");
        w->scan.at++;
        if (!w->scan.depth) forget_run(w);
        w->atom = NOWHERE;
        w->last = 0;
        return 0;
    case '(':
        return read_group(w);
    case '[':
        begin_atom(w);
        return oniguruma_read_class(&w->scan, &w->out);
    case '.':
        begin_atom(w);
        put(w, "[^\\n]");
        w->scan.at++;
        return 0;
    case '^':
    /* The assertions ^ and $ apply to every line. */
    case '$':
        begin_atom(w);
        put(w, *w->scan.at++ == '^' ? "(?:\\A|(?<=\\n)(?!\\z))" : "(?=\\n|\\z)");
        w->atom = NOWHERE;
        return 0;
    case '*':
    case '+':
    case '?':
        if (w->atom == NOWHERE) return oniguruma_refuse(&w->scan, "a quantifier of nothing");
        return read_quantifier(w);
    case '{':
        interval = interval_length(w->scan.at, &is_fixed);
        if (!interval) return oniguruma_refuse(&w->scan, "{ that begins no interval");
        if (w->atom == NOWHERE) return oniguruma_refuse(&w->scan, "a quantifier of nothing");
        return read_interval(w, interval, is_fixed);
    case '\\':
        return read_escape(w);
    default:
        return read_literal(w);
    }
}

static int read_alternatives(struct writing *w)
{
    w->atom = NOWHERE;
    w->last = 0;
    while (*w->scan.at && *w->scan.at != ')')
        if (read_item(w)) return -1;
    return 0;
}

int oniguruma_translate(struct oniguruma_pattern *to, const char *pattern, struct fail *why)
{
    struct writing w = { .scan = { .at = pattern, .why = why } };
    *to = (struct oniguruma_pattern){ 0 };
    if (strlen(pattern) > ONIGURUMA_PATTERN_MAX)
        return fail_input(why, "a pattern has %zu bytes, but at most %d are possible",
                          strlen(pattern), ONIGURUMA_PATTERN_MAX);
    put(&w, "");
    int status = read_alternatives(&w);
    if (!status && *w.scan.at) status = oniguruma_refuse(&w.scan, ") without (");
    if (!status && w.scan.uses_tables && w.scan.has_conflict)
        status = oniguruma_refuse(&w.scan, "characters newer than Unicode 14 beside a property");
    if (!status && w.out.is_lost) status = fail(why, "out of memory");
    if (status) {
        free(w.out.at);
        forget_run(&w);
        return -1;
    }
    *to =
        (struct oniguruma_pattern){ w.out.at, w.scan.uses_tables, w.scan.keeps_unassigned, w.run };
    return 0;
}
