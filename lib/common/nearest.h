/* nearest.h - finds the word that a misspelled one probably means. */
#ifndef LONGQLORA_NEAREST_H
#define LONGQLORA_NEAREST_H

/* The word of the list that is nearest to `typed`; NULL if none is near. The result is the list's
 * own pointer. */
const char *nearest_word(const char *typed, const char *const *words, int count);

#endif
