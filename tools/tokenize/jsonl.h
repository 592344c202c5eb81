/* jsonl.h - one line of JSON: its text and its source, everything else skipped
 * whatever its shape.
 */
#ifndef LONGQLORA_JSONL_H
#define LONGQLORA_JSONL_H

#include "lib/common/fail.h"

#include <stddef.h>

enum { JSONL_DEPTH_MAX = 512 };

/* A string of the line, unescaped, in memory of the caller's that is reused. */
struct jsonl_text {
    char *at;
    size_t bytes, capacity;
    bool found;
};

/* Finds the strings at two paths of keys ("text", "meta.redpajama_set_name") in one
 * pass. replaces: invalid UTF-8 and lone surrogates become U+FFFD instead of failing.
 * On failure *byte is where, from 1. */
int jsonl_parse(const char *line, size_t bytes, const char *text_key, const char *source_key,
                bool replaces, struct jsonl_text *text, struct jsonl_text *source, size_t *byte,
                struct fail *why) MUST_USE;

#endif
