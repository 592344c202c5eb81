#include "tools/tokenize/jsonl.h"

#include "lib/common/buffer.h"
#include "lib/common/json.h"
#include "lib/common/json_plain.h"
#include "lib/common/json_scan.h"
#include "lib/common/utf8.h"

struct parser {
    const unsigned char *start, *at, *end;
    bool replaces;
    int depth;
    struct fail *why;
    struct jsonl_text *text, *source;
    const char *text_key, *source_key;
    struct jsonl_text key; /* the key that was read last */
};

static int bad(struct parser *p, const char *what) { return fail_input(p->why, "%s", what); }

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\r' || *p->at == '\n'))
        p->at++;
}

static int reserve(struct parser *p, struct jsonl_text *t, size_t bytes)
{
    return buffer_reserve(&t->at, &t->capacity, t->bytes, bytes, p->why);
}

static int hex4(struct parser *p, uint32_t *value)
{
    if (p->end - p->at < 4) return bad(p, "\\u is cut");
    *value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = *p->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)c - '0'
                         : c >= 'a' && c <= 'f' ? (uint32_t)c - 'a' + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)c - 'A' + 10
                                                : 16;
        if (digit > 15) return bad(p, "\\u needs four hexadecimal digits");
        *value = *value << 4 | digit;
    }
    return 0;
}

static int unicode_escape(struct parser *p, struct jsonl_text *to)
{
    uint32_t c, low;
    if (hex4(p, &c)) return -1;
    if (c >= 0xd800 && c < 0xdc00 && p->end - p->at >= 2 && p->at[0] == '\\' && p->at[1] == 'u') {
        const unsigned char *back = p->at;
        p->at += 2;
        if (hex4(p, &low)) return -1;
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        else
            p->at = back;
    }
    if (c >= 0xd800 && c < 0xe000) {
        if (!p->replaces) return bad(p, "lone surrogate in an escape");
        c = 0xfffd;
        to->is_mended = true;
    }
    to->bytes += utf8_encode(c, to->at + to->bytes);
    return 0;
}

/* Returns the character that a backslash and this letter mean; 0 for \u and for unknown escapes. */
static char escaped(unsigned char c)
{
    static const char into[128] = { ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t' };
    return c < 128 ? into[c] : 0;
}

/* Parses an escape after its backslash, if it is \u or wrong. */
static int rare_escape(struct parser *p, struct jsonl_text *to)
{
    if (p->at == p->end) return bad(p, "string is cut");
    unsigned char c = *p->at++;
    return c == 'u' ? unicode_escape(p, to) : bad(p, "unknown escape");
}

/* Appends the bytes, or skips them if `to` is NULL. */
static void append(struct jsonl_text *to, const void *bytes, size_t count)
{
    if (!to) return;
    memcpy(to->at + to->bytes, bytes, count);
    to->bytes += count;
}

/* Parses characters of a string up to a quotation mark or a backslash, or for about `most` bytes.
 */
static int characters(struct parser *p, struct jsonl_text *to, size_t most)
{
    const unsigned char *end = (size_t)(p->end - p->at) < most ? p->end : p->at + most;
    while (p->at < end) {
        size_t n =
            json_plain((const char *)p->at, (size_t)(end - p->at), to ? to->at + to->bytes : NULL);
        p->at += n;
        if (to) to->bytes += n;
        if (p->at == end || *p->at == '"') return 0;
        if (*p->at == '\\') {
            char c = p->end - p->at > 1 ? escaped(p->at[1]) : 0;
            if (!c) return 0;
            append(to, &c, 1);
            p->at += 2;
            continue;
        }
        if (*p->at < 32) return bad(p, "control character in a string");
        while (p->at<end && * p->at> 127) {
            n = utf8_valid(p->at, (size_t)(p->end - p->at));
            if (!n && !p->replaces) return bad(p, "invalid UTF-8");
            append(to, n ? (const char *)p->at : "\xef\xbf\xbd", n ? n : 3);
            if (!n && to) to->is_mended = true;
            p->at += n ? n : utf8_invalid(p->at, (size_t)(p->end - p->at));
        }
    }
    return 0;
}

/* Parses a string after its opening quote. If `to` is NULL, it is only checked. */
static int string(struct parser *p, struct jsonl_text *to)
{
    enum { STEP = 4096 };
    char small[16];
    struct jsonl_text none = { .at = small };
    if (to) to->bytes = 0;
    if (to) to->is_mended = false;
    for (;;) {
        /* A byte that is no UTF-8 becomes three. */
        if (to && reserve(p, to, 3 * STEP + JSON_PLAIN_SLACK)) return -1;
        if (characters(p, to, STEP)) return -1;
        if (p->at == p->end) return bad(p, "string is cut");
        if (*p->at == '"') {
            p->at++;
            return 0;
        }
        bool is_common = p->end - p->at > 1 && escaped(p->at[1]);
        if (*p->at != '\\' || is_common) continue;
        p->at++;
        none.bytes = 0;
        if (rare_escape(p, to ? to : &none)) return -1;
    }
}

/* The part of a key path that remains below a value; NULL if the value is not on the path.
 * is_literal: a key contained dots, so that it was more than one part of the path. */
struct path {
    const char *rest;
    bool is_literal;
};
struct paths {
    struct path text, source;
};

static struct path follow(const struct parser *p, struct path path)
{
    struct path off = { 0 };
    size_t n = p->key.bytes;
    if (!path.rest || !*path.rest || strlen(path.rest) < n || memcmp(path.rest, p->key.at, n) != 0)
        return off;
    if (path.rest[n] && path.rest[n] != '.') return off;
    return (struct path){ path.rest + n + (path.rest[n] == '.'),
                          path.is_literal || memchr(path.rest, '.', n) };
}

/* Is the value at the end of the path? A key that contains dots does not replace a nested value. */
static bool is_wanted(struct path path, const struct jsonl_text *t)
{
    return path.rest && !*path.rest && !(path.is_literal && t->found && !t->is_literal);
}

static int value(struct parser *p, struct paths paths);

static int members(struct parser *p, struct paths paths)
{
    skip_space(p);
    if (p->at < p->end && *p->at == '}') {
        p->at++;
        return 0;
    }
    for (;;) {
        skip_space(p);
        if (p->at == p->end || *p->at != '"') return bad(p, "a key is missing");
        p->at++;
        if (string(p, &p->key)) return -1;
        struct paths below = { follow(p, paths.text), follow(p, paths.source) };
        skip_space(p);
        if (p->at == p->end || *p->at++ != ':') return bad(p, "':' is missing");
        if (value(p, below)) return -1;
        skip_space(p);
        if (p->at == p->end) return bad(p, "object is cut");
        unsigned char c = *p->at++;
        if (c == '}') return 0;
        if (c != ',') return bad(p, "',' or '}' is missing");
    }
}

static int elements(struct parser *p)
{
    struct paths off = { 0 };
    skip_space(p);
    if (p->at < p->end && *p->at == ']') {
        p->at++;
        return 0;
    }
    for (;;) {
        if (value(p, off)) return -1;
        skip_space(p);
        if (p->at == p->end) return bad(p, "array is cut");
        unsigned char c = *p->at++;
        if (c == ']') return 0;
        if (c != ',') return bad(p, "',' or ']' is missing");
    }
}

static int number(struct parser *p)
{
    const char *fault;
    bool is_whole;
    const unsigned char *end = json_scan_number_end(p->at, p->end, &is_whole, &fault);
    if (!end) return bad(p, fault);
    p->at = end;
    return 0;
}

/* Parses a number, true, false or null. */
static int word(struct parser *p)
{
    static const char *const words[] = { "true", "false", "null" };
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(p->end - p->at) >= n && !memcmp(p->at, words[i], n)) {
            p->at += n;
            return 0;
        }
    }
    return number(p);
}

static int take_source(struct parser *p, struct path path, const char *text, size_t bytes,
                       size_t byte)
{
    struct jsonl_text *to = p->source;
    to->bytes = 0;
    if (reserve(p, to, bytes + 1)) return -1;
    memcpy(to->at, text, bytes);
    to->bytes = bytes;
    to->byte = byte;
    to->found = true;
    to->is_literal = path.is_literal;
    return 0;
}

/* Parses a source that is not a string. A whole number becomes text. */
static int other_source(struct parser *p, struct path path)
{
    char digits[64], whole[JSON_WHOLE_TEXT];
    const unsigned char *first = p->at;
    if (word(p)) return -1;
    size_t bytes = (size_t)(p->at - first);
    if (*first == 'n') return 0;
    p->source->is_other = true;
    if (*first == 't' || *first == 'f' || bytes >= sizeof digits) return 0;
    memcpy(digits, first, bytes);
    digits[bytes] = 0;
    if (!json_whole_text(strtod(digits, NULL), whole)) return 0;
    return take_source(p, path, whole, strlen(whole), (size_t)(first - p->start) + 1);
}

static int value(struct parser *p, struct paths paths)
{
    skip_space(p);
    if (p->at == p->end) return bad(p, "a value is missing (truncated line?)");
    unsigned char c = *p->at;
    bool is_text = is_wanted(paths.text, p->text), is_source = is_wanted(paths.source, p->source);
    if (c == '"') {
        struct jsonl_text *to = is_text ? p->text : is_source ? p->source : NULL;
        size_t byte = (size_t)(p->at++ - p->start) + 1;
        if (string(p, to)) return -1;
        if (!to) return 0;
        to->byte = byte;
        to->found = true;
        to->is_literal = is_text ? paths.text.is_literal : paths.source.is_literal;
        if (is_text && is_source)
            return take_source(p, paths.source, p->text->at, p->text->bytes, byte);
        return 0;
    }
    if (c != '{' && c != '[') return is_source ? other_source(p, paths.source) : word(p);
    p->source->is_other |= is_source;
    if (++p->depth > JSONL_DEPTH_MAX) return bad(p, "nested deeper than 512");
    p->at++;
    int status = c == '{' ? members(p, paths) : elements(p);
    p->depth--;
    return status;
}

int jsonl_parse(const char *line, size_t bytes, const char *text_key, const char *source_key,
                bool replaces, struct jsonl_text *text, struct jsonl_text *source, size_t *byte,
                struct fail *why)
{
    struct parser p = { .replaces = replaces, .why = why, .text = text, .source = source };
    p.start = p.at = (const unsigned char *)line;
    p.end = p.at + bytes;
    text->found = source->found = source->is_other = false;
    text->is_mended = source->is_mended = false;
    text->bytes = source->bytes = 0;
    skip_space(&p);
    int status = 0;
    if (p.at == p.end || *p.at != '{') status = bad(&p, "not a JSON object");
    if (!status) status = value(&p, (struct paths){ { text_key, false }, { source_key, false } });
    skip_space(&p);
    if (!status && p.at != p.end)
        status = bad(&p, "something follows the object, which must be alone on its line");
    if (!status && !text->found) status = fail_input(why, "no string '%s'", text_key);
    *byte = (size_t)(p.at - p.start) + 1;
    free(p.key.at);
    return status;
}
