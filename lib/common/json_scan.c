#include "lib/common/json_scan.h"

#include "lib/common/json_advice.h"
#include "lib/common/utf8.h"

#include <errno.h>
#include <math.h>

struct json_scan json_scan_begin(const char *name, const char *text, size_t bytes, struct fail *why)
{
    const unsigned char *start = (const unsigned char *)text;
    return (struct json_scan){
        .name = name, .start = start, .at = start, .end = start + bytes, .why = why
    };
}

static bool begins(const struct json_scan *s, const char *with)
{
    size_t length = strlen(with);
    return (size_t)(s->end - s->at) >= length && !memcmp(s->at, with, length);
}

int json_scan_refuse(struct json_scan *s, const char *what)
{
    bool is_python = begins(s, "NaN") || begins(s, "Infinity") || begins(s, "-Infinity");
    const char *more = s->at == s->end ? " (truncated?)" : is_python ? JSON_ADVICE_PYTHON : "";
    return fail_input(s->why, "%s byte %zu: %s%s", s->name, (size_t)(s->at - s->start) + 1, what,
                      more);
}

char json_scan_kind(struct json_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n'))
        s->at++;
    return s->at < s->end ? (char)*s->at : 0;
}

/* Skips the character c. Fails with the text `lack` if another character comes. */
static int expect(struct json_scan *s, char c, const char *lack)
{
    if (json_scan_kind(s) != c) return json_scan_refuse(s, lack);
    s->at++;
    return 0;
}

int json_scan_open(struct json_scan *s, char open)
{
    if (s->depth == JSON_SCAN_DEPTH_MAX)
        return fail_input(s->why, "%s byte %zu: nested deeper than %d", s->name,
                          (size_t)(s->at - s->start) + 1, JSON_SCAN_DEPTH_MAX);
    if (expect(s, open, open == '{' ? "not an object" : "not a list")) return -1;
    uint64_t bit = UINT64_C(1) << s->depth++;
    s->lists = open == '[' ? s->lists | bit : s->lists & ~bit;
    return 0;
}

int json_scan_more(struct json_scan *s, size_t *count)
{
    bool is_list = s->lists >> (s->depth - 1) & 1;
    if (json_scan_kind(s) == (is_list ? ']' : '}')) {
        s->at++;
        s->depth--;
        return 0;
    }
    if (*count && expect(s, ',', is_list ? "',' or ']' is missing" : "',' or '}' is missing"))
        return -1;
    ++*count;
    return 1;
}

/* ---- strings ---- */

static int hex4(struct json_scan *s, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = s->at < s->end && *s->at ? strchr(digits, *s->at) : NULL;
        if (!digit) return json_scan_refuse(s, "\\u needs four hexadecimal digits");
        *value = *value << 4 | (uint32_t)((digit - digits) & 15);
    }
    return 0;
}

/* Reads the four digits of \u, and the second \u of a surrogate pair. */
static int unicode(struct json_scan *s, uint32_t *c)
{
    uint32_t low = 0;
    if (hex4(s, c)) return -1;
    if (!*c) return json_scan_refuse(s, "\\u0000 is not supported");
    if (*c < 0xd800 || *c > 0xdfff) return 0;
    if (*c < 0xdc00 && s->end - s->at > 2 && s->at[0] == '\\' && s->at[1] == 'u') {
        s->at += 2;
        if (hex4(s, &low)) return -1;
    }
    if (low < 0xdc00 || low > 0xdfff) return json_scan_refuse(s, "a lone surrogate");
    *c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

/* Reads the character at s->at and advances s->at. */
static int character(struct json_scan *s, uint32_t *c)
{
    static const char into[128] = { ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t' };
    if (s->at == s->end) return json_scan_refuse(s, "a string has no end");
    if (*s->at < 32) return json_scan_refuse(s, "the string has a control character");
    if (*s->at != '\\') {
        size_t n = utf8_valid(s->at, (size_t)(s->end - s->at));
        if (!n) return json_scan_refuse(s, "not UTF-8");
        *c = utf8_decode((const char *)s->at, &n);
        s->at += n;
        return 0;
    }
    s->at++;
    if (s->at == s->end || *s->at > 127 || (*s->at != 'u' && !into[*s->at]))
        return json_scan_refuse(s, "JSON has no such escape");
    unsigned char escape = *s->at++;
    *c = (uint32_t)into[escape];
    return escape == 'u' ? unicode(s, c) : 0;
}

/* Reads a string; text NULL skips it. */
static int string(struct json_scan *s, char *text, size_t size)
{
    size_t used = 0;
    if (expect(s, '"', "not a string")) return -1;
    while (s->at < s->end && *s->at != '"') {
        char bytes[4];
        uint32_t c = 0;
        bool is_plain = *s->at >= 32 && *s->at < 128 && *s->at != '\\';
        if (is_plain && (!text || size - used > 1)) {
            if (text) text[used++] = (char)*s->at;
            s->at++;
            continue;
        }
        if (character(s, &c)) return -1;
        if (!text) continue;
        size_t n = utf8_encode(c, bytes);
        if (n >= size - used)
            return fail_input(s->why, "%s byte %zu: the string has more than %zu bytes", s->name,
                              (size_t)(s->at - s->start), size - 1);
        memcpy(text + used, bytes, n);
        used += n;
    }
    if (text) text[used] = 0;
    return expect(s, '"', "a string has no end");
}

size_t json_scan_longest(struct json_scan *s)
{
    if (json_scan_kind(s) != '"') return 1;
    const unsigned char *at = s->at + 1;
    while (at < s->end && *at != '"')
        at += *at == '\\' && s->end - at > 1 ? 2 : 1;
    return (size_t)(at - s->at);
}

int json_scan_text(struct json_scan *s, char *text, size_t size) { return string(s, text, size); }

int json_scan_colon(struct json_scan *s) { return expect(s, ':', "':' is missing"); }

int json_scan_key(struct json_scan *s, char *text, size_t size)
{
    return string(s, text, size) || json_scan_colon(s) ? -1 : 0;
}

/* ---- numbers and words ---- */

static const unsigned char *digits(const unsigned char *at, const unsigned char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

const unsigned char *json_scan_number_end(const unsigned char *at, const unsigned char *end,
                                          bool *is_whole, const char **fault)
{
    const unsigned char *first = at + (*at == '-'), *part;
    *fault = "not a JSON value";
    at = digits(first, end);
    if (at == first || (at - first > 1 && *first == '0')) return NULL;
    *is_whole = true;
    if (at < end && *at == '.') {
        part = at + 1;
        at = digits(part, end);
        *fault = "the number has no digits after its point";
        if (at == part) return NULL;
        *is_whole = false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        part = at + 1;
        if (part < end && (*part == '+' || *part == '-')) part++;
        at = digits(part, end);
        *fault = "the number has no digits in its exponent";
        if (at == part) return NULL;
        *is_whole = false;
    }
    return at;
}

/* Skips a number. */
static int number(struct json_scan *s, bool *is_whole)
{
    const char *fault;
    const unsigned char *end = json_scan_number_end(s->at, s->end, is_whole, &fault);
    if (!end) return json_scan_refuse(s, fault);
    s->at = end;
    return 0;
}

int json_scan_number(struct json_scan *s, bool *is_whole, int64_t *whole, double *real)
{
    char c = json_scan_kind(s), text[JSON_SCAN_DIGITS_MAX + 1];
    if (c != '-' && (c < '0' || c > '9')) return json_scan_refuse(s, "not a number");
    const unsigned char *first = s->at;
    if (number(s, is_whole)) return -1;
    size_t bytes = (size_t)(s->at - first);
    if (bytes > JSON_SCAN_DIGITS_MAX)
        return fail_input(s->why,
                          "%s byte %zu: the number has %zu characters, but at most %d are possible",
                          s->name, (size_t)(first - s->start) + 1, bytes, JSON_SCAN_DIGITS_MAX);
    memcpy(text, first, bytes);
    text[bytes] = 0;
    errno = 0;
    *whole = *is_whole ? strtoll(text, NULL, 10) : 0;
    *real = *is_whole ? 0 : strtod(text, NULL);
    if ((*is_whole && errno) || !isfinite(*real))
        return json_scan_refuse(s, "the number does not fit in 64 bits");
    return 0;
}

int json_scan_integer(struct json_scan *s, int64_t *value)
{
    bool is_whole = false;
    double real;
    if (json_scan_number(s, &is_whole, value, &real)) return -1;
    return is_whole ? 0 : json_scan_refuse(s, "not a whole number");
}

int json_scan_word(struct json_scan *s)
{
    static const struct {
        const char *text;
        int value;
    } words[] = { { "true", 1 }, { "false", 0 }, { "null", -2 } };
    (void)json_scan_kind(s);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].text);
        if ((size_t)(s->end - s->at) < n || memcmp(s->at, words[i].text, n) != 0) continue;
        s->at += n;
        return words[i].value;
    }
    return json_scan_refuse(s, "not a JSON value");
}

int json_scan_skip(struct json_scan *s)
{
    char c = json_scan_kind(s);
    if (!c) return json_scan_refuse(s, "a value is missing");
    if (c == '"') return string(s, NULL, 0);
    if (c == 't' || c == 'f' || c == 'n') return json_scan_word(s) == -1 ? -1 : 0;
    if (c != '{' && c != '[') {
        bool is_whole;
        return number(s, &is_whole);
    }
    size_t count = 0;
    int more;
    if (json_scan_open(s, c)) return -1;
    while ((more = json_scan_more(s, &count)) > 0)
        if ((c == '{' && json_scan_key(s, NULL, 0)) || json_scan_skip(s)) return -1;
    return more;
}

int json_scan_end(struct json_scan *s)
{
    return json_scan_kind(s) || s->at < s->end ? json_scan_refuse(s, "something follows the end")
                                               : 0;
}
