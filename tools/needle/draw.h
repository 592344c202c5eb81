/* draw.h - random choices that depend on a seed and a name alone, so that every machine makes the
 * same ones.
 */
#ifndef LONGQLORA_NEEDLE_DRAW_H
#define LONGQLORA_NEEDLE_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draw {
    uint64_t key, prompt, count; /* count: how many numbers were drawn */
};

/* Begins the draws for one purpose ("needles single") of one prompt. */
struct draw draw_begin(uint64_t seed, const char *purpose, uint64_t prompt);
/* Returns a number below n, n >= 1. */
uint64_t draw_below(struct draw *d, uint64_t n);

/* How many different names draw_name has. */
enum { DRAW_NAMES = 64 * 64 };
enum { DRAW_TEXT = 32 };
/* Writes name number n, such as "harborlight". */
void draw_name(uint64_t n, char text[DRAW_TEXT]);
/* Writes a number of 7 digits. */
void draw_number(struct draw *d, char text[DRAW_TEXT]);
/* Writes `length` random letters from 'a' or 'A' on. */
void draw_letters(struct draw *d, char first, size_t length, char text[DRAW_TEXT]);

#endif
