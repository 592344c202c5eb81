/* unicode_tables.h - classes of characters as Hugging Face's tokenizers have them.
 *
 * The tables are made by tests/golden/unicode_tables.py from tokenizers 0.23.3. Ranges are in order
 * and do not overlap.
 */
#ifndef LONGQLORA_TOKENIZER_UNICODE_TABLES_H
#define LONGQLORA_TOKENIZER_UNICODE_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unicode_range {
    uint32_t first, last;
};
/* A pattern meets `other` in place of these characters, which its library may not know. */
struct unicode_stand_in {
    uint32_t first, last, other;
};
/* What stands for those that are no characters, of three and of four bytes. */
enum { UNICODE_NOTHING_OF_3 = 0xfdd0, UNICODE_NOTHING_OF_4 = 0x1fffe };

extern const struct unicode_range unicode_numeric[], unicode_punctuation[], unicode_word[];
extern const struct unicode_stand_in unicode_late[];
extern const int unicode_numeric_count, unicode_punctuation_count, unicode_word_count,
    unicode_late_count;

bool unicode_is_numeric(uint32_t c);
bool unicode_is_punctuation(uint32_t c);
bool unicode_is_word(uint32_t c);
/* The property White_Space. */
bool unicode_is_space(uint32_t c);
/* What stands for c in patterns: c itself, if Unicode 14 has it. */
uint32_t unicode_stand_in(uint32_t c);

/* Is the text in normalization form C by what its characters are alone? False: it may be. */
bool unicode_is_composed(const char *text, size_t bytes);
/* Form C of valid UTF-8, by tokenizers' tables; the caller frees *out. Fails where memory is out.
 */
int unicode_compose(const char *text, size_t bytes, char **out, size_t *used);

#endif
