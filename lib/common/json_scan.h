/* json_scan.h - JSON read from front to back without a tree: for text whose tree would be many
 * times its size.
 *
 * Text is not trusted: nesting is limited, strings are valid UTF-8 that fits where it is wanted.
 * A failure says at which byte.
 */
#ifndef LONGQLORA_JSON_SCAN_H
#define LONGQLORA_JSON_SCAN_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

enum { JSON_SCAN_DEPTH_MAX = 64, JSON_SCAN_DIGITS_MAX = 511 };

struct json_scan {
    const char *name; /* borrowed, for messages */
    const unsigned char *start, *at, *end;
    int depth;
    uint64_t lists; /* a bit for each depth: is it a list there? */
    struct fail *why;
};

/* name: of the text, "header". */
struct json_scan json_scan_begin(const char *name, const char *text, size_t bytes,
                                 struct fail *why);
/* The next value's first character, which tells its kind; 0 at the end. */
char json_scan_kind(struct json_scan *s);
/* Goes into an object or array: open is '{' or '['. */
int json_scan_open(struct json_scan *s, char open) MUST_USE;
/* 1: another member or element follows; 0: the end was passed; -1. *count is that of those so far,
 * 0 before the first. */
int json_scan_more(struct json_scan *s, size_t *count) MUST_USE;
/* A member's key with its colon, and any string: the text ends with a zero, has none before, and
 * is shorter than size. */
int json_scan_key(struct json_scan *s, char *text, size_t size) MUST_USE;
int json_scan_text(struct json_scan *s, char *text, size_t size) MUST_USE;
int json_scan_colon(struct json_scan *s) MUST_USE; /* after a key that was read as a text */
/* Enough for the string that comes, with its zero. */
size_t json_scan_longest(struct json_scan *s);
/* A whole number. */
int json_scan_integer(struct json_scan *s, int64_t *value) MUST_USE;
/* A number: *is_whole tells which of the two it is. */
int json_scan_number(struct json_scan *s, bool *is_whole, int64_t *whole, double *real) MUST_USE;
/* true, false or null: 1, 0, -2; -1: none of them. */
int json_scan_word(struct json_scan *s) MUST_USE;
/* Passes a value of any kind. */
int json_scan_skip(struct json_scan *s) MUST_USE;
/* Nothing but space must follow. */
int json_scan_end(struct json_scan *s) MUST_USE;
/* "header byte 17: what". Returns -1. */
int json_scan_refuse(struct json_scan *s, const char *what);

#endif
