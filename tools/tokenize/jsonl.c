#include "tools/tokenize/jsonl.h"

#include "lib/common/buffer.h"
#include "lib/common/json.h"
#include "lib/common/json_plain.h"
#include "lib/common/json_scan.h"
#include "lib/common/utf8.h"

/* A value at the end of a key path. */
struct found {
    /* Bit 63 - i says whether dot i of the path is part of a key. The value with the smallest
     * number is preferred, because it is nested deepest, from the left on. */
    uint64_t joined;
    const unsigned char *at;
    bool is_usable; /* a value of the right type */
};

/* What was found at a key path: at most one value for each way to join its parts to keys. */
struct wanted {
    struct jsonl_text *to;
    const unsigned char *copied; /* the string that *to has; NULL: none */
    int count;
    struct found found[JSONL_SPELLINGS_MAX]; /* [count] */
};

struct parser {
    const unsigned char *start, *at, *end;
    bool replaces;
    int depth;
    struct fail *why;
    struct wanted text, source;
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

/* ---- key paths ---- */

/* The part of a key path that remains below a value; rest is NULL if the value is not on the path.
 * `joined` is as in struct found, for the first `dots` dots of the path. */
struct path {
    const char *rest;
    uint64_t joined;
    bool is_end; /* the value is at the end of the path */
    unsigned char dots;
};
struct paths {
    struct path text, source;
};

/* Removes what was found earlier in a member with the same keys, because the last of several
 * members with one key counts. */
static void forget(struct wanted *w, const struct path *path)
{
    int kept = 0;
    uint64_t differs = path->dots ? UINT64_MAX << (64 - path->dots) : 0;
    for (int i = 0; i < w->count; i++)
        if ((w->found[i].joined ^ path->joined) & differs) w->found[kept++] = w->found[i];
    w->count = kept;
}

/* Follows the path into the member whose key was read last. Sets below->rest to NULL if the path
 * does not lead there. */
static void follow(const struct parser *p, const struct path *path, struct wanted *w,
                   struct path *below)
{
    const char *rest = path->rest;
    size_t n = p->key.bytes;
    below->rest = NULL;
    below->is_end = false;
    if (!rest || path->is_end || (n && *rest != *p->key.at) || strlen(rest) < n ||
        memcmp(rest, p->key.at, n) != 0 || (rest[n] && rest[n] != '.'))
        return;
    *below = *path;
    for (size_t i = 0; i < n; i++)
        if (rest[i] == '.') below->joined |= UINT64_C(1) << (63 - below->dots++);
    below->is_end = !rest[n];
    below->rest = rest + n + !below->is_end;
    below->dots += !below->is_end;
    forget(w, below);
}

/* Notes the value that begins at `at`. */
static int add(struct parser *p, struct wanted *w, const struct path *path, const unsigned char *at,
               bool is_usable)
{
    if (w->count == JSONL_SPELLINGS_MAX) return bad(p, "a key path is spelled in more than 8 ways");
    w->found[w->count++] = (struct found){ path->joined, at, is_usable };
    return 0;
}

/* Returns the value that counts; NULL if there is none of the right type. */
static const struct found *best_of(const struct wanted *w)
{
    const struct found *best = NULL;
    for (int i = 0; i < w->count; i++)
        if (w->found[i].is_usable && (!best || w->found[i].joined < best->joined))
            best = &w->found[i];
    return best;
}

static int value(struct parser *p, const struct paths *paths);

static int members(struct parser *p, const struct paths *paths)
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
        struct paths below;
        follow(p, &paths->text, &p->text, &below.text);
        follow(p, &paths->source, &p->source, &below.source);
        skip_space(p);
        if (p->at == p->end || *p->at++ != ':') return bad(p, "':' is missing");
        if (value(p, &below)) return -1;
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
        if (value(p, &off)) return -1;
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

/* Writes the number at[…end) into text[JSON_WHOLE_TEXT]. Returns false if it is no whole number. */
static bool whole_number(const unsigned char *at, const unsigned char *end, char *text)
{
    return *at != 't' && *at != 'f' && json_whole_text((const char *)at, (size_t)(end - at), text);
}

/* Parses a source that is not a string. It may be a whole number. */
static int other_source(struct parser *p, const struct path *path)
{
    char whole[JSON_WHOLE_TEXT];
    const unsigned char *first = p->at;
    if (word(p)) return -1;
    return *first == 'n' ? 0 : add(p, &p->source, path, first, whole_number(first, p->at, whole));
}

static int value(struct parser *p, const struct paths *paths)
{
    skip_space(p);
    if (p->at == p->end) return bad(p, "a value is missing (truncated line?)");
    const unsigned char *first = p->at;
    bool is_text = paths->text.is_end, is_source = paths->source.is_end;
    if (*first == '"') {
        struct wanted *w = is_text ? &p->text : is_source ? &p->source : NULL;
        p->at++;
        if (string(p, w ? w->to : NULL)) return -1;
        if (w) w->copied = first;
        if (is_text && add(p, &p->text, &paths->text, first, true)) return -1;
        return is_source ? add(p, &p->source, &paths->source, first, true) : 0;
    }
    if (*first != '{' && *first != '[')
        return is_source ? other_source(p, &paths->source) : word(p);
    if (is_source && add(p, &p->source, &paths->source, first, false)) return -1;
    if (++p->depth > JSONL_DEPTH_MAX) return bad(p, "nested deeper than 512");
    p->at++;
    int status = *first == '{' ? members(p, paths) : elements(p);
    p->depth--;
    return status;
}

/* ---- a line ---- */

/* Copies the value at `at`, a string or a whole number, to *to. Nearly always the string has been
 * copied when it was found. */
static int copy(struct parser *p, const unsigned char *at, struct jsonl_text *to)
{
    const unsigned char *back = p->at;
    p->at = at + 1;
    int status = *at == '"' ? string(p, to) : reserve(p, to, JSON_WHOLE_TEXT);
    if (!status && *at != '"') {
        p->at = at;
        status = number(p);
        must(!status && whole_number(at, p->at, to->at));
        to->bytes = strlen(to->at);
    }
    p->at = back;
    return status;
}

static void wanted_begin(struct wanted *w, struct jsonl_text *to)
{
    w->to = to;
    w->copied = NULL;
    w->count = 0;
    to->found = to->is_mended = to->is_other = false;
    to->bytes = 0;
}

/* Fills in *w->to. */
static int finish(struct parser *p, struct wanted *w)
{
    const struct found *best = best_of(w);
    w->to->found = best;
    for (int i = 0; i < w->count; i++)
        w->to->is_other |= !w->found[i].is_usable;
    if (!best) {
        w->to->is_mended = false;
        w->to->bytes = 0;
        return 0;
    }
    w->to->byte = (size_t)(best->at - p->start) + 1;
    return best->at == w->copied ? 0 : copy(p, best->at, w->to);
}

int jsonl_parse(const char *line, size_t bytes, const char *text_key, const char *source_key,
                bool replaces, struct jsonl_text *text, struct jsonl_text *source, size_t *byte,
                struct fail *why)
{
    const unsigned char *start = (const unsigned char *)line;
    const struct paths paths = { { .rest = text_key }, { .rest = source_key } };
    struct parser p; /* not zeroed, because that takes longer than a short line */
    p.start = p.at = start;
    p.end = start + bytes;
    p.replaces = replaces;
    p.depth = 0;
    p.why = why;
    wanted_begin(&p.text, text);
    wanted_begin(&p.source, source);
    p.key = (struct jsonl_text){ 0 };
    skip_space(&p);
    int status = 0;
    if (p.at == p.end || *p.at != '{') status = bad(&p, "not a JSON object");
    if (!status) status = value(&p, &paths);
    skip_space(&p);
    if (!status && p.at != p.end)
        status = bad(&p, "something follows the object, which must be alone on its line");
    if (!status) status = finish(&p, &p.text) || finish(&p, &p.source) ? -1 : 0;
    if (!status && text_key && !text->found) status = fail_input(why, "no string '%s'", text_key);
    *byte = (size_t)(p.at - p.start) + 1;
    free(p.key.at);
    return status;
}
