/* json_scan.h - reads JSON from front to back without building a tree. For some texts, such as the
 * header of a large safetensors file, a tree would be many times larger than the text.
 *
 * The text is not trusted: nesting is limited, and strings must be valid UTF-8 that fits the given
 * buffer. A failure names the byte at which it occurred.
 *
 *     size_t count = 0;
 *     struct json_scan s = json_scan_begin("header", text, bytes, why);
 *     if (json_scan_open(&s, '{')) return -1;
 *     while ((status = json_scan_more(&s, &count)) > 0)
 *         if (json_scan_key(&s, key, sizeof key) || json_scan_skip(&s)) return -1;
 *     return status || json_scan_end(&s) ? -1 : 0;
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
    uint64_t lists; /* bit d is set if the value at depth d is a list */
    struct fail *why;
};

/* Begins a scan of text[bytes]. `name` is used in messages ("header"). Text, name and why must
 * outlive the scan. */
struct json_scan json_scan_begin(const char *name, const char *text, size_t bytes,
                                 struct fail *why);
/* The first character of the next value, which tells the value's kind; 0 at the end of the text. */
char json_scan_kind(struct json_scan *s);
/* Enters an object or an array; `open` is '{' or '['. */
int json_scan_open(struct json_scan *s, char open) MUST_USE;
/* Is there another member of the object, or element of the array? Returns 1 if one follows.
 * Returns 0 if the object or array has ended; the scan is then after its closing bracket.
 * Returns -1 on failure. *count is the number of members or elements so far; set it to 0 before
 * the first call. */
int json_scan_more(struct json_scan *s, size_t *count) MUST_USE;
/* json_scan_key reads a member's key and the colon after it; json_scan_text reads any string. The
 * result ends with a NUL. A string that contains a NUL, or that is not shorter than size, is an
 * error. */
int json_scan_key(struct json_scan *s, char *text, size_t size) MUST_USE;
int json_scan_text(struct json_scan *s, char *text, size_t size) MUST_USE;
/* Reads the colon after a key that json_scan_text has read. */
int json_scan_colon(struct json_scan *s) MUST_USE;
/* A buffer size that is enough for the next string and its terminating zero. */
size_t json_scan_longest(struct json_scan *s);
/* Reads an integer. */
int json_scan_integer(struct json_scan *s, int64_t *value) MUST_USE;
/* Reads a number. *is_whole tells whether *whole or *real has its value. */
int json_scan_number(struct json_scan *s, bool *is_whole, int64_t *whole, double *real) MUST_USE;
/* Reads true, false or null and returns 1, 0 or -2. Returns -1 for anything else. */
int json_scan_word(struct json_scan *s) MUST_USE;
/* Skips a value of any kind. */
int json_scan_skip(struct json_scan *s) MUST_USE;
/* Returns the end of the number that begins at `at`, a readable byte. *is_whole becomes true if it
 * has no fraction and no exponent. Returns NULL if it is no number in JSON's syntax, and *fault
 * says why. */
const unsigned char *json_scan_number_end(const unsigned char *at, const unsigned char *end,
                                          bool *is_whole, const char **fault);
/* Fails if anything but white space is left. */
int json_scan_end(struct json_scan *s) MUST_USE;
/* Fails with "header byte 17: what", where 17 is the scan's position. Returns -1. */
int json_scan_refuse(struct json_scan *s, const char *what);

#endif
