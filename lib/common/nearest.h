/* nearest.h - finds the word that a misspelled one probably means. */
#ifndef LONGQLORA_NEAREST_H
#define LONGQLORA_NEAREST_H

/* Returns the word of the list that is nearest to `typed`, or NULL if none is near. The result is a
 * pointer from the list. */
const char *nearest_word(const char *typed, const char *const *words, int count);

#endif
