/* scanner.h - finds pre-tokens of the patterns that most models use, 64 bytes at a time.
 *
 * A block is 64 bytes of the text, from the start of a pre-token. Each class of characters becomes
 * a mask with one bit for each byte, and shifts and additions of masks find where pre-tokens start
 * in the block. The next block begins at the last of these starts. A pattern looks ahead but never
 * back, so nothing else must be carried over.
 *
 * What is rare is left to the pattern itself (pretokenize.c): a long run of spaces or marks, or a
 * capital letter beside a combining mark in o200k. Tests compare the scanner with the pattern
 * (test_scanner).
 *
 * Idea of the masks: Langdale and Lemire, Parsing Gigabytes of JSON per Second, 2019.
 */
#ifndef LONGQLORA_TOKENIZER_SCANNER_H
#define LONGQLORA_TOKENIZER_SCANNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scanner;

/* Returns the scanner of a pattern of tokenizer.json; NULL if the pattern is not known here.
 * after_digits: an earlier step, Digits, makes a pre-token of each digit. */
const struct scanner *scanner_find(const char *pattern, bool after_digits);

/* Sets a bit of `starts`, which has one for each byte, where a pre-token begins. `at` is the start
 * of a pre-token. Returns the start of the first pre-token whose end it cannot find, or `bytes` if
 * it has found all. The text is valid UTF-8. */
size_t scanner_cut(const struct scanner *s, uint64_t *starts, const char *text, size_t bytes,
                   size_t at);

/* Does an earlier step make a pre-token of each digit? */
bool scanner_is_after_digits(const struct scanner *s);

/* ---- for scanner*.c only ---- */

enum { SCANNER_BLOCK = 64 };

/* The masks of a block. Each says which bytes are ASCII characters of one kind, or part of a
 * character beyond ASCII. */
enum scanner_mask {
    MASK_UPPER,
    MASK_LOWER,
    MASK_DIGIT,
    MASK_SPACE, /* \s, newlines too */
    MASK_NEWLINE,
    MASK_BLANK, /* U+0020 */
    MASK_QUOTE,
    MASK_SLASH,
    MASK_HIGH, /* a byte of a character beyond ASCII */
    MASK_TAIL, /* a continuation byte */
    MASKS
};
/* Computes the masks of SCANNER_BLOCK bytes with the widest vectors that the CPU has. */
void scanner_masks(uint64_t mask[MASKS], const char *text);
/* The functions that compute the masks: in plain C, with AVX2, and with AVX-512. Tests compare
 * them. NULL if this CPU lacks the instructions. */
typedef void scanner_masks_way(uint64_t mask[MASKS], const char *text);
scanner_masks_way *scanner_masks_plain(void);
scanner_masks_way *scanner_masks_avx2(void);
scanner_masks_way *scanner_masks_avx512(void);

#endif
