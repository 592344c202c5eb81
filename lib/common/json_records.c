#include "lib/common/json_records.h"

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static int bad(const struct json_records *r, const char *what, struct fail *why)
{
    char place[4200];
    json_records_place(r, r->number + 1, place, sizeof place);
    return fail_input(why, "%s: %s", place, what);
}

/* Returns the next byte that is not white space, without consuming it; -1 at the end, -2 on
 * failure. */
static int next_byte(struct json_records *r, struct fail *why)
{
    char *text;
    size_t bytes;
    for (;;) {
        if (input_peek(r->in, 1, &text, &bytes, why)) return -2;
        if (!bytes) return -1;
        size_t n = 0;
        while (n < bytes && is_space(text[n]))
            n++;
        if (n < bytes && !n) return (unsigned char)*text;
        input_consume(r->in, n);
    }
}

int json_records_open(struct json_records *r, struct input *in, struct fail *why)
{
    *r = (struct json_records){ .in = in };
    enum file_kind kind = input_kind(in);
    if (kind == FILE_KIND_OTHER) return 0;
    return fail_input(why, "%s: %s, where JSON is needed: %s", input_name(in),
                      file_kind_words(kind), file_kind_way_to_text(kind));
}

void json_records_place(const struct json_records *r, uint64_t number, char *place, size_t size)
{
    snprintf(place, size, r->is_array ? "%s: element %llu" : "%s:%llu", input_name(r->in),
             (unsigned long long)number);
}

/* State of the search for the end of an element. `at` is the number of its bytes that were
 * scanned. */
struct scan {
    size_t at;
    int64_t depth;
    bool in_string, is_escaped;
};

/* Scans the bytes from s->at on. Returns true if it finds the comma or bracket that ends the
 * element. */
static bool scan_element(struct scan *s, const char *text, size_t bytes)
{
    for (; s->at < bytes; s->at++) {
        char c = text[s->at];
        if (s->in_string) {
            if (s->is_escaped)
                s->is_escaped = false;
            else if (c == '\\')
                s->is_escaped = true;
            else if (c == '"')
                s->in_string = false;
        } else if (c == '"') {
            s->in_string = true;
        } else if (c == '[' || c == '{') {
            s->depth++;
        } else if (s->depth && (c == ']' || c == '}')) {
            s->depth--;
        } else if (!s->depth && (c == ',' || c == ']')) {
            return true;
        }
    }
    return false;
}

/* Is the first element of the array, which begins at text[start] of the input, a part of a record?
 * Returns 1, 0, or -1. */
static int is_part(struct json_records *r, size_t start, struct fail *why)
{
    struct scan scan = { 0 };
    char *text;
    size_t have;
    for (size_t more = start + 1;; more = have + 1) {
        if (input_peek(r->in, more, &text, &have, why)) return -1;
        if (scan_element(&scan, text + start, have - start)) break;
        if (have < more) return 0;
    }
    return r->is_part(text + start, scan.at);
}

/* Decides at the first record, after blank lines were skipped, whether the file is an array. */
static int find_shape(struct json_records *r, struct fail *why)
{
    char *text;
    size_t bytes, n = 0;
    r->is_begun = true;
    if (input_peek(r->in, 1, &text, &bytes, why)) return -1;
    while (n < bytes && is_space(text[n]))
        n++;
    if (n == bytes || text[n] != '[') return 0;
    int part = r->is_part ? is_part(r, n + 1, why) : 0;
    if (part < 0) return -1;
    r->is_array = !part;
    if (r->is_array) input_consume(r->in, n + 1);
    return 0;
}

/* The array has ended. Fails if anything but white space follows. */
static int end_array(struct json_records *r, struct fail *why)
{
    r->is_ended = true;
    int c = next_byte(r, why);
    if (c == -1) return 0;
    return c < 0 ? -1 : bad(r, "something follows the array, which must be alone in its file", why);
}

/* Reads the next element; the comma before it was consumed. */
static int next_element(struct json_records *r, char **text, size_t *bytes, struct fail *why)
{
    struct scan scan = { 0 };
    size_t have;
    int c = next_byte(r, why);
    if (c == -2) return -1;
    if (c == ']' && !r->number) {
        input_consume(r->in, 1);
        return end_array(r, why);
    }
    for (size_t more = 1;; more = have + 1) {
        if (input_peek(r->in, more, text, &have, why)) return -1;
        if (scan_element(&scan, *text, have)) break;
        if (have < more) return bad(r, "the array is cut: its bracket does not close", why);
    }
    r->taken = scan.at;
    *bytes = scan.at;
    while (*bytes && is_space((*text)[*bytes - 1]))
        --*bytes;
    if (!*bytes) return bad(r, "a value is missing", why);
    r->number++;
    return 1;
}

/* Consumes the element that was read, and the comma or bracket after it. Returns 1 if another
 * element follows, 0 if none follows, or -1. */
static int leave_element(struct json_records *r, struct fail *why)
{
    char *text;
    size_t bytes;
    input_consume(r->in, r->taken);
    r->taken = 0;
    if (input_peek(r->in, 1, &text, &bytes, why)) return -1;
    bool is_last = *text == ']';
    input_consume(r->in, 1);
    return is_last ? end_array(r, why) : 1;
}

int json_records_next(struct json_records *r, char **text, size_t *bytes, struct fail *why)
{
    if (!r->is_array) {
        int got = input_skip_blank(r->in, &r->indent, why);
        if (got <= 0) return got;
        if (!r->is_begun && find_shape(r, why)) return -1;
    }
    if (r->is_array) {
        int got = r->is_ended ? 0 : r->taken ? leave_element(r, why) : 1;
        return got > 0 ? next_element(r, text, bytes, why) : got;
    }
    int got = input_line(r->in, text, bytes, why);
    if (got > 0) r->number = input_line_number(r->in);
    return got;
}
