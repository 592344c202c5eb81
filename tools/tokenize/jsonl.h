/* jsonl.h - parses one line of JSON for its text and its source, and skips all other values.
 */
#ifndef LONGQLORA_JSONL_H
#define LONGQLORA_JSONL_H

#include "lib/common/fail.h"

#include <stddef.h>

enum { JSONL_DEPTH_MAX = 512 };

/* An unescaped string of the line. The caller frees `at`, which is reused for later lines. */
struct jsonl_text {
    char *at;
    size_t bytes, capacity;
    size_t byte; /* its place in the line, from 1 */
    bool found;
    bool is_mended;  /* it has a U+FFFD in place of invalid characters */
    bool is_literal; /* the path, or several parts of it, is one key that contains dots */
    bool is_other;   /* the source's value is neither a text nor a whole number, nor null */
};

/* Finds the strings at two key paths ("text", "meta.redpajama_set_name") in one pass. A source may
 * be a whole number too. A path may also be a key that contains dots, if no value is nested so. If
 * `replaces`, invalid UTF-8 and lone surrogates become U+FFFD; otherwise they are errors. On
 * failure *byte is the place of the error, counted from 1. */
int jsonl_parse(const char *line, size_t bytes, const char *text_key, const char *source_key,
                bool replaces, struct jsonl_text *text, struct jsonl_text *source, size_t *byte,
                struct fail *why) MUST_USE;

#endif
