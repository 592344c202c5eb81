/* unicode_tables.h - the character classes of Hugging Face's tokenizers.
 *
 * tests/golden/unicode_tables.py makes the tables from tokenizers 0.23.3. The ranges are sorted and
 * do not overlap.
 */
#ifndef LONGQLORA_TOKENIZER_UNICODE_TABLES_H
#define LONGQLORA_TOKENIZER_UNICODE_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unicode_range {
    uint32_t first, last;
};
/* Before a pattern is matched, the characters first..last are replaced by `other`, because
 * the installed PCRE2 may not know them, or classify them otherwise than Oniguruma. */
struct unicode_stand_in {
    uint32_t first, last, other;
};
/* The replacements for characters that are unassigned in Oniguruma's tables: one for characters of
 * three UTF-8 bytes, and one for characters of four. */
enum { UNICODE_NOTHING_OF_3 = 0xfdd0, UNICODE_NOTHING_OF_4 = 0x1fffe };

extern const struct unicode_range unicode_numeric[], unicode_punctuation[], unicode_word[];
extern const struct unicode_stand_in unicode_late[];
extern const int unicode_numeric_count, unicode_punctuation_count, unicode_word_count,
    unicode_late_count;

/* What a character is in the patterns of tokenizers, by Oniguruma's tables: a capital letter (Lu,
 * Lt), a small one (Ll), another letter (Lm, Lo), a combining mark (M), a number (N), a character
 * that is numeric only for char::is_numeric of Rust, a space (\s), or anything else. */
enum unicode_class {
    UNICODE_OTHER,
    UNICODE_UPPER,
    UNICODE_LOWER,
    UNICODE_LETTER,
    UNICODE_COMBINING,
    UNICODE_NUMBER,
    UNICODE_LATE_NUMBER,
    UNICODE_SPACE,
    UNICODE_CLASSES
};
/* Each entry is the first character of a range that has one class, times 16, plus the class. */
extern const uint32_t unicode_class_ranges[];
extern const int unicode_class_count;
/* Returns the classes of all code points. */
const uint8_t *unicode_classes(void);

/* Is c in the table unicode_numeric, unicode_punctuation or unicode_word? */
bool unicode_is_numeric(uint32_t c);
bool unicode_is_punctuation(uint32_t c);
bool unicode_is_word(uint32_t c);
/* Does c have the property White_Space? */
bool unicode_is_space(uint32_t c);
/* Returns the character that replaces c in matching; c itself if it needs no replacement. */
uint32_t unicode_stand_in(uint32_t c);

/* Returns true if the text has only characters that never change in normalization form C. Such a
 * text is in that form. If the function returns false, the text may be in that form too. */
bool unicode_is_composed(const char *text, size_t bytes);
/* Converts valid UTF-8 to normalization form C, by tokenizers' tables. The caller frees *out. Fails
 * if memory runs out. */
int unicode_compose(const char *text, size_t bytes, char **out, size_t *used);

#endif
