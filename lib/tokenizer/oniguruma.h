/* oniguruma.h - patterns as Oniguruma means them, written for PCRE2.
 *
 * Hugging Face's tokenizers cut text by Oniguruma with UTF-8 (its own syntax, near to Ruby's). What
 * means the same is kept, what differs is spelled out, and what cannot be is refused by name.
 * Source: Oniguruma's doc/RE and doc/UNICODE_PROPERTIES; the classes were compared with tokenizers
 * 0.23.3 over all code points (tests/golden/tokenizer.py).
 */
#ifndef LONGQLORA_TOKENIZER_ONIGURUMA_H
#define LONGQLORA_TOKENIZER_ONIGURUMA_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

enum { ONIGURUMA_PATTERN_MAX = 16 << 10, ONIGURUMA_DEPTH_MAX = 64 };

/* The characters with the property White_Space, to stand in brackets: PCRE2's \s has U+180E
 * besides. */
#define ONIGURUMA_SPACES                                                                           \
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}"

/* Text that grows; after a lack of memory it stays as it is. */
struct oniguruma_text {
    char *at;
    size_t used, capacity;
    bool is_lost;
};
void oniguruma_put(struct oniguruma_text *t, const char *text, size_t bytes);

struct oniguruma_pattern {
    char *text; /* for PCRE2 with UTF and UCP */
    /* It depends on tables of characters: in their place must stand those of unicode_late, besides
     * (keeps_unassigned) those that are no characters in Oniguruma's tables. */
    bool uses_tables, keeps_unassigned;
};
/* The caller frees the text. */
int oniguruma_translate(struct oniguruma_pattern *to, const char *pattern,
                        struct fail *why) MUST_USE;

/* ---- for oniguruma*.c only ---- */

struct oniguruma_scan {
    const char *at;
    struct fail *why;
    int depth;
    bool ignores_case, uses_tables, keeps_unassigned, has_conflict;
};

/* A class that an escape or a property is: the text that stands in brackets for it. */
struct oniguruma_set {
    const char *inside;
    bool is_negated;
};
/* Reads \w, \D, \p{L} … at the backslash. 1: it was one; 0: it is something else; -1: refused. */
int oniguruma_read_set(struct oniguruma_scan *s, bool in_brackets, struct oniguruma_set *set);
/* Notes that the pattern names these characters: may others stand for some of them? */
void oniguruma_note_range(struct oniguruma_scan *s, uint32_t first, uint32_t last);
/* Reads a character at s->at, escaped or not, as its code point. */
int oniguruma_read_character(struct oniguruma_scan *s, uint32_t *c);
/* Reads [...] at its bracket; appends an atom. */
int oniguruma_read_class(struct oniguruma_scan *s, struct oniguruma_text *out);
/* The class [:name:] at s->at; as oniguruma_read_set. */
int oniguruma_read_posix(struct oniguruma_scan *s, struct oniguruma_set *set);
/* Appends a character as itself. */
void oniguruma_put_character(struct oniguruma_text *t, uint32_t c);
/* "a pattern with WHAT is not done here"; returns -1. */
#define oniguruma_refuse(scan, what) (oniguruma_blame((scan), (what)), fail_status())
void oniguruma_blame(const struct oniguruma_scan *s, const char *what);

#endif
