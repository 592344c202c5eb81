/* draw.h - random choices that depend only on a seed, a purpose and a prompt's number, so that they
 * are the same on every machine.
 */
#ifndef LONGQLORA_NEEDLE_DRAW_H
#define LONGQLORA_NEEDLE_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draw {
    uint64_t key, prompt, count; /* count: how many numbers have been drawn */
};

/* Begins the random choices for one purpose, such as "needles of single", in one prompt. */
struct draw draw_begin(uint64_t seed, const char *purpose, uint64_t prompt);
/* Returns a random number less than n; n >= 1. */
uint64_t draw_below(struct draw *d, uint64_t n);

/* How many different names draw_name can write. */
enum { DRAW_NAMES = 64 * 64 };
enum { DRAW_TEXT = 32 };
/* Writes name number n, such as "harborlight". */
void draw_name(uint64_t n, char text[DRAW_TEXT]);
/* Writes a random number of 7 digits. */
void draw_number(struct draw *d, char text[DRAW_TEXT]);
/* Writes `length` random letters: small ones if `first` is 'a', capitals if it is 'A'. */
void draw_letters(struct draw *d, char first, size_t length, char text[DRAW_TEXT]);

#endif
