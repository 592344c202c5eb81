/* jsonl.h - parses one line of JSON for its text and its source, and skips all other values.
 */
#ifndef LONGQLORA_JSONL_H
#define LONGQLORA_JSONL_H

#include "lib/common/fail.h"

#include <stddef.h>

enum {
    JSONL_DEPTH_MAX = 512,
    JSONL_DOTS_MAX = 63,     /* dots of a key path */
    JSONL_SPELLINGS_MAX = 8, /* ways in which a line may spell a key path */
};

/* An unescaped string of the line. The caller frees `at`, which is reused for later lines. */
struct jsonl_text {
    char *at;
    size_t bytes, capacity;
    size_t byte; /* its place in the line, from 1 */
    bool found;
    bool is_mended; /* it has a U+FFFD in place of invalid characters */
    bool is_other;  /* the source has a value that is neither a text nor a whole number, nor null */
};

/* Finds the strings at two key paths ("text", "meta.redpajama_set_name") in one pass. A source may
 * be a whole number too. A path may also be a key that contains dots, if no value is nested so. A
 * path has at most JSONL_DOTS_MAX dots. If a key occurs twice in an object, its last value counts,
 * as in Python. If `replaces`, invalid UTF-8 and lone surrogates become U+FFFD; otherwise they are
 * errors. Without a text_key (NULL) only the source is sought. On failure *byte is the place of the
 * error, counted from 1. */
int jsonl_parse(const char *line, size_t bytes, const char *text_key, const char *source_key,
                bool replaces, struct jsonl_text *text, struct jsonl_text *source, size_t *byte,
                struct fail *why) MUST_USE;

#endif
