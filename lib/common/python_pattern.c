/* A pattern is translated character by character. Syntax that is not known to mean the same in
 * Python and in PCRE2 is refused. */
#include "lib/common/python_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Limits of PCRE2 for one match: its steps, and its heap in KiB. They are small because names are
 * short. */
enum { STEPS_MAX = 1 << 20, HEAP_MAX = 16 << 10 };

struct python_pattern {
    pcre2_code *code;
    pcre2_match_data *found;
    pcre2_match_context *context;
    char shown[80]; /* the pattern, for messages */
};

/* The state of a translation from Python's syntax to PCRE2's. */
struct translation {
    const char *at; /* the next character to translate */
    char *to;
    bool has_item;   /* a quantifier may follow what was copied last */
    bool quantified; /* what was copied last has a quantifier already */
    int depth;       /* the number of open groups */
};

static int refuse(const char *what, struct fail *why)
{
    return fail_input(why,
                      "%s means something else in PCRE2 than in Python's re, or is invalid there: "
                      "write it differently, or list the names of the modules",
                      what);
}

static void copy_letters(struct translation *c, size_t letters)
{
    memcpy(c->to, c->at, letters);
    c->to += letters;
    c->at += letters;
}

static void note_item(struct translation *c, bool is_item)
{
    c->has_item = is_item;
    c->quantified = false;
}

/* Copies a backslash and what it escapes, outside of brackets. */
static int copy_escape(struct translation *c, struct fail *why)
{
    unsigned char letter = (unsigned char)c->at[1];
    char what[8];
    bool is_place = letter && strchr("bBAZ", letter);
    bool is_known = is_place || (letter && strchr("dDsSwWtnrf", letter)) || ispunct(letter);
    if (!is_known) {
        snprintf(what, sizeof what, "\\%c", letter ? letter : ' ');
        return refuse(what, why);
    }
    /* Python's \Z matches only the very end, which is \z in PCRE2. */
    if (letter == 'Z') {
        memcpy(c->to, "\\z", 2);
        c->to += 2;
        c->at += 2;
    } else {
        copy_letters(c, 2);
    }
    note_item(c, !is_place);
    return 0;
}

/* Copies a class in brackets. In both syntaxes a ']' at its beginning stands for itself. */
static int copy_class(struct translation *c, struct fail *why)
{
    copy_letters(c, c->at[1] == '^' ? 2 : 1);
    if (*c->at == ']') copy_letters(c, 1);
    while (*c->at && *c->at != ']') {
        if (*c->at == '[') return refuse("[ in brackets", why);
        if (*c->at != '\\') {
            if (!strncmp(c->at, "&&", 2) || !strncmp(c->at, "--", 2) || !strncmp(c->at, "||", 2) ||
                !strncmp(c->at, "~~", 2))
                return refuse("&&, --, || or ~~ in brackets", why);
            copy_letters(c, 1);
            continue;
        }
        unsigned char letter = (unsigned char)c->at[1];
        bool is_class = letter && strchr("dDsSwW", letter);
        if (!is_class && !ispunct(letter) && !(letter && strchr("tnrf", letter)))
            return refuse("such an escape in brackets", why);
        copy_letters(c, 2);
        if (is_class && *c->at == '-' && c->at[1] != ']')
            return refuse("a range from a class", why);
    }
    if (!*c->at) return refuse("[ without ]", why);
    copy_letters(c, 1);
    note_item(c, true);
    return 0;
}

/* Accepts "(?<=abc)" only if it looks back at plain letters, because these have the same length in
 * both syntaxes. */
static bool is_plain_behind(const char *at)
{
    size_t length = strcspn(at, "()[]{}*+?|\\^$");
    return at[length] == ')';
}

/* The length of "(?P<name>"; 0 if the name is not valid. */
static size_t named_letters(const char *at)
{
    size_t name = strspn(at + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    bool is_name = name && name <= 32 && !strchr("0123456789", at[4]) && at[4 + name] == '>';
    return is_name ? name + 5 : 0;
}

static int copy_group(struct translation *c, struct fail *why)
{
    const char *at = c->at;
    size_t letters = 1;
    if (at[1] == '*') return refuse("(*", why);
    if (at[1] == '?') {
        if (at[2] == ':' || at[2] == '=' || at[2] == '!')
            letters = 3;
        else if (at[2] == '<' && (at[3] == '=' || at[3] == '!') && is_plain_behind(at + 4))
            letters = 4;
        else if (!strncmp(at, "(?i:", 4))
            letters = 4;
        else if (at[2] == 'P' && at[3] == '<' && named_letters(at))
            letters = named_letters(at);
        else
            return refuse("that (?", why);
    }
    copy_letters(c, letters);
    c->depth++;
    note_item(c, false);
    return 0;
}

/* The length of a quantifier "{2}", "{2,}", "{,3}" or "{2,3}". In Python any other brace stands for
 * itself. */
static size_t quantifier_letters(const char *at)
{
    size_t low = strspn(at + 1, "0123456789"), end = 1 + low;
    if (at[end] == ',') {
        size_t high = strspn(at + end + 1, "0123456789");
        end += 1 + high;
    } else if (!low) {
        return 0;
    }
    return at[end] == '}' ? end + 1 : 0;
}

static int copy_quantifier(struct translation *c, struct fail *why)
{
    if (!c->has_item) return refuse("a quantifier of nothing", why);
    if (c->quantified) return refuse("a quantifier of a quantifier", why);
    if (*c->at == '{') {
        size_t letters = quantifier_letters(c->at);
        if (c->at[1] == ',') {
            memcpy(c->to, "{0", 2);
            c->to += 2;
            c->at++;
            letters--;
        }
        copy_letters(c, letters);
    } else {
        copy_letters(c, 1);
    }
    if (*c->at == '?') copy_letters(c, 1);
    if (*c->at == '+') return refuse("a possessive quantifier", why);
    c->quantified = true;
    return 0;
}

static int copy_next(struct translation *c, struct fail *why)
{
    unsigned char letter = (unsigned char)*c->at;
    if (letter < 0x20 || letter >= 0x7f) return refuse("a letter that is not ASCII", why);
    switch (letter) {
    case '\\':
        return copy_escape(c, why);
    case '[':
        return copy_class(c, why);
    case '(':
        return copy_group(c, why);
    case ')':
        copy_letters(c, 1);
        c->depth--;
        note_item(c, true);
        return 0;
    case '*':
    case '+':
    case '?':
        return copy_quantifier(c, why);
    case '{':
        if (quantifier_letters(c->at)) return copy_quantifier(c, why);
        *c->to++ = '\\';
        copy_letters(c, 1);
        note_item(c, true);
        return 0;
    case '^':
    case '$':
    case '|':
        copy_letters(c, 1);
        note_item(c, false);
        return 0;
    default:
        copy_letters(c, 1);
        note_item(c, true);
        return 0;
    }
}

/* Returns the pattern in PCRE2's syntax, which the caller frees. NULL on failure. */
static char *translate(const char *text, struct fail *why)
{
    char *out = malloc(2 * strlen(text) + 3);
    struct translation c = { .at = text, .to = out };
    if (!out) {
        (void)fail(why, "out of memory");
        return NULL;
    }
    /* (?i) is accepted only at the beginning, because Python and PCRE2 both accept it there. */
    if (!strncmp(text, "(?i)", 4)) copy_letters(&c, 4);
    while (*c.at)
        if (copy_next(&c, why)) {
            free(out);
            return NULL;
        }
    *c.to = 0;
    return out;
}

static int compile(struct python_pattern *p, const char *text, bool whole, struct fail *why)
{
    int error;
    PCRE2_SIZE place;
    char *translated = translate(text, why);
    if (!translated) return -1;
    p->code =
        pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED,
                      PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C | (whole ? PCRE2_ENDANCHORED : 0),
                      &error, &place, NULL);
    free(translated);
    if (p->code) return 0;
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(error, message, sizeof message);
    return fail_input(why, "not a regular expression: %s", (char *)message);
}

int python_pattern_open(struct python_pattern **out, const char *text, bool whole, struct fail *why)
{
    struct python_pattern *p = *out = calloc(1, sizeof *p);
    if (!p) return fail(why, "out of memory");
    snprintf(p->shown, sizeof p->shown, "'%.60s'", text);
    int status = strlen(text) <= PYTHON_PATTERN_MAX
                     ? compile(p, text, whole, why)
                     : fail_input(why, "the pattern has %zu bytes, but at most %d are possible",
                                  strlen(text), PYTHON_PATTERN_MAX);
    if (!status) {
        p->found = pcre2_match_data_create_from_pattern(p->code, NULL);
        p->context = pcre2_match_context_create(NULL);
        if (!p->found || !p->context) status = fail(why, "out of memory");
    }
    if (!status) {
        pcre2_set_match_limit(p->context, STEPS_MAX);
        pcre2_set_heap_limit(p->context, HEAP_MAX);
        return 0;
    }
    fail_prefix(why, p->shown);
    python_pattern_close(p);
    *out = NULL;
    return -1;
}

void python_pattern_close(struct python_pattern *p)
{
    if (!p) return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->found);
    pcre2_match_context_free(p->context);
    free(p);
}

int python_pattern_match(struct python_pattern *p, const char *name, struct fail *why)
{
    /* PCRE2 copies the name, because python_pattern_number reads a part of it later. */
    int found = pcre2_match(p->code, (PCRE2_SPTR)name, strlen(name), 0, PCRE2_COPY_MATCHED_SUBJECT,
                            p->found, p->context);
    if (found >= 0) return 1;
    if (found == PCRE2_ERROR_NOMATCH) return 0;
    return fail_input(why, "%s takes too many steps on '%.100s'", p->shown, name);
}

long long python_pattern_number(const struct python_pattern *p, const char *group)
{
    PCRE2_UCHAR text[24];
    PCRE2_SIZE length = sizeof text;
    if (pcre2_substring_copy_byname(p->found, (PCRE2_SPTR)group, text, &length)) return -1;
    const char *digits = (const char *)text;
    if (!length || strspn(digits, "0123456789") != length) return -1;
    errno = 0;
    long long number = strtoll(digits, NULL, 10);
    return errno ? -1 : number;
}
