#include "lib/tokenizer/jinja_form.h"

#include <ctype.h>
#include <string.h>

/* The text that is left to read, and the output, which is at most twice as long as the input. */
struct former {
    const char *at, *end;
    char *to;
    /* A line of the text begins at `at`. */
    bool begins_line;
    struct fail *why;
};

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_' || (c & 0x80); }
static bool is_space(char c) { return c && strchr(" \t\n\v\f", c); }

static void put(struct former *f, const char *text, size_t bytes)
{
    memcpy(f->to, text, bytes);
    f->to += bytes;
}

static void skip_space(struct former *f)
{
    while (f->at < f->end && is_space(*f->at))
        f->at++;
}

/* The sign of a tag: '-' removes white space beside the tag, '+' keeps it; 0 if there is none. */
static char sign_at(const char *at, const char *end)
{
    return at < end && (*at == '-' || *at == '+') ? *at : 0;
}

/* Copies the text before a tag. The sign '-' drops all white space before the tag. If the tag has
 * no sign, white space between the beginning of the line and the tag is dropped (lstrip_blocks),
 * except before {{. */
static void put_data(struct former *f, const char *tag, char sign)
{
    const char *end = tag, *line = tag;
    while (sign == '-' && end > f->at && is_space(end[-1]))
        end--;
    if (!sign && tag < f->end && tag[1] != '{') {
        while (line > f->at && line[-1] != '\n' && is_space(line[-1]))
            line--;
        bool is_whole = line > f->at ? line[-1] == '\n' : f->begins_line;
        if (is_whole) end = line;
    }
    put(f, f->at, (size_t)(end - f->at));
}

/* Copies a string with its quotes. */
static int put_string(struct former *f)
{
    char quote = *f->at;
    put(f, f->at++, 1);
    for (; f->at < f->end && *f->at != quote; f->at++) {
        if (*f->at == '\n') {
            put(f, "\\n", 2);
            continue;
        }
        if (*f->at == '\\' && f->at + 1 < f->end) put(f, f->at++, 1);
        put(f, f->at, 1);
    }
    if (f->at == f->end) return fail_input(f->why, "a string does not end");
    put(f, f->at++, 1);
    return 0;
}

/* If the tag ends here, returns the length of its end including the sign; otherwise 0. */
static size_t tag_end(const struct former *f, const char *closing, char *sign)
{
    *sign = sign_at(f->at, f->end);
    size_t length = *sign ? 3 : 2;
    const char *at = f->at + (*sign != 0);
    return f->end - at >= 2 && !memcmp(at, closing, 2) ? length : 0;
}

/* Copies the inside of a {{ or {% tag, and the tag's end. *sign becomes the sign at the end. */
static int put_inside(struct former *f, const char *closing, char *sign)
{
    const char *start = f->to;
    int depth = 0;
    bool has_gap = false;
    size_t length = 0;
    while (f->at < f->end && (depth || !(length = tag_end(f, closing, sign)))) {
        if (is_space(*f->at)) {
            has_gap = true;
            f->at++;
            continue;
        }
        if (has_gap && f->to > start && is_word(f->to[-1]) && is_word(*f->at)) put(f, " ", 1);
        has_gap = false;
        if (*f->at == '\'' || *f->at == '"') {
            if (put_string(f)) return -1;
            continue;
        }
        depth += (strchr("([{", *f->at) != NULL) - (strchr(")]}", *f->at) != NULL);
        put(f, f->at++, 1);
    }
    if (!length) return fail_input(f->why, "a tag does not end");
    if (f->to - start == 3 && !memcmp(start, "raw", 3))
        return fail_input(f->why, "a raw block is not supported");
    f->at += length;
    put(f, closing, 2);
    return 0;
}

static int skip_comment(struct former *f, char *sign)
{
    const char *end = memmem(f->at, (size_t)(f->end - f->at), "#}", 2);
    if (!end) return fail_input(f->why, "a comment does not end");
    *sign = end > f->at ? sign_at(end - 1, end) : 0;
    f->at = end + 2;
    return 0;
}

/* Returns where the next tag begins, or the end of the text. */
static const char *find_tag(const struct former *f)
{
    const char *at = f->at;
    while (at + 1 < f->end && !(at[0] == '{' && at[1] && strchr("{%#", at[1])))
        at++;
    return at + 1 < f->end ? at : f->end;
}

static int put_tag(struct former *f, const char *tag)
{
    char kind = tag[1], sign = sign_at(tag + 2, f->end), behind = 0;
    put_data(f, tag, sign);
    f->at = tag + 2 + (sign != 0);
    if (kind != '#') put(f, tag, 2);
    if (kind == '#' ? skip_comment(f, &behind) : put_inside(f, kind == '%' ? "%}" : "}}", &behind))
        return -1;
    bool takes_newline = kind != '{' && !behind && f->at < f->end && *f->at == '\n';
    if (behind == '-') skip_space(f);
    if (takes_newline) f->at++;
    f->begins_line = f->at[-1] == '\n';
    return 0;
}

/* Copies the text. \r\n and \r become \n, and a newline at the end is dropped. */
static size_t one_newline(char *copy, const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        bool is_return = text[i] == '\r';
        copy[n++] = is_return ? '\n' : text[i];
        if (is_return && i + 1 < bytes && text[i + 1] == '\n') i++;
    }
    return n && copy[n - 1] == '\n' ? n - 1 : n;
}

char *jinja_form(const char *text, size_t bytes, struct fail *why)
{
    if (bytes > JINJA_TEXT_MAX) {
        fail_input(why, "the template has %zu bytes, but at most %d are possible", bytes,
                   JINJA_TEXT_MAX);
        return NULL;
    }
    if (memchr(text, 0, bytes)) {
        fail_input(why, "the template contains a NUL character");
        return NULL;
    }
    char *copy = malloc(bytes + 1), *form = malloc(2 * bytes + 1);
    if (!copy || !form) {
        fail(why, "out of memory");
        free(copy);
        free(form);
        return NULL;
    }
    struct former f = { .at = copy, .to = form, .begins_line = true, .why = why };
    f.end = copy + one_newline(copy, text, bytes);
    int status = 0;
    while (f.at < f.end && !status) {
        const char *tag = find_tag(&f);
        if (tag < f.end)
            status = put_tag(&f, tag);
        else
            put(&f, f.at, (size_t)(f.end - f.at)), f.at = f.end;
    }
    *f.to = 0;
    free(copy);
    if (!status) return form;
    free(form);
    return NULL;
}
