/* oniguruma.h - translates regular expressions from Oniguruma's syntax to PCRE2's.
 *
 * Hugging Face's tokenizers split text with Oniguruma (UTF-8, its own syntax, which resembles
 * Ruby's). Syntax with the same meaning is kept, and syntax with another meaning is rewritten.
 * Syntax without an equivalent is refused, and the message names it. Source: Oniguruma's doc/RE and
 * doc/UNICODE_PROPERTIES. The character classes were compared with tokenizers 0.23.3 for all code
 * points (tests/golden/tokenizer.py).
 */
#ifndef LONGQLORA_TOKENIZER_ONIGURUMA_H
#define LONGQLORA_TOKENIZER_ONIGURUMA_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

enum { ONIGURUMA_PATTERN_MAX = 16 << 10, ONIGURUMA_DEPTH_MAX = 64 };

/* The characters with the property White_Space, for use in brackets. PCRE2's \s is not used,
 * because it also contains U+180E. */
#define ONIGURUMA_SPACES                                                                           \
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}"

/* A growing text. After an allocation has failed, it no longer changes (is_lost). */
struct oniguruma_text {
    char *at;
    size_t used, capacity;
    bool is_lost;
};
void oniguruma_put(struct oniguruma_text *t, const char *text, size_t bytes);

struct oniguruma_pattern {
    char *text; /* in PCRE2's syntax, for the options UTF and UCP; the caller frees it */
    /* uses_tables: the pattern depends on Unicode tables. So the characters of unicode_late must be
     * replaced in the text before matching. keeps_unassigned: characters that are unassigned in
     * Oniguruma's tables are not replaced. */
    bool uses_tables, keeps_unassigned;
    /* If the pattern begins with one or more characters of a class, as \s+$ does, this is the class
     * in PCRE2's syntax (\s); otherwise NULL. If such a pattern does not match at the start of a
     * run of this class, it matches nowhere in the run. The caller frees the text. */
    char *run;
};
/* Translates a pattern. The caller frees to->text and to->run. */
int oniguruma_translate(struct oniguruma_pattern *to, const char *pattern,
                        struct fail *why) MUST_USE;

/* ---- for oniguruma*.c only ---- */

struct oniguruma_scan {
    const char *at;
    struct fail *why;
    int depth;
    bool ignores_case, uses_tables, keeps_unassigned, has_conflict;
};

/* The character class that an escape or a property denotes, as text for use in brackets. */
struct oniguruma_set {
    const char *inside;
    bool is_negated;
};
/* Reads a class such as \w, \D or \p{L} at the backslash. Returns 1 if it has read a class, 0 if
 * the text is something else, -1 if the class is refused. */
int oniguruma_read_set(struct oniguruma_scan *s, bool in_brackets, struct oniguruma_set *set);
/* Records that the pattern names these characters, because a pattern that names replaced characters
 * may be refused. */
void oniguruma_note_range(struct oniguruma_scan *s, uint32_t first, uint32_t last);
/* Reads the character at s->at, escaped or not. */
int oniguruma_read_character(struct oniguruma_scan *s, uint32_t *c);
/* Reads a class [...] and appends it to *out. */
int oniguruma_read_class(struct oniguruma_scan *s, struct oniguruma_text *out);
/* Appends a character that stands for itself. */
void oniguruma_put_character(struct oniguruma_text *t, uint32_t c);
/* Fails with "a pattern with WHAT is not supported" and returns -1. */
#define oniguruma_refuse(scan, what) (oniguruma_fail_at((scan), (what)), fail_status())
void oniguruma_fail_at(const struct oniguruma_scan *s, const char *what);

#endif
