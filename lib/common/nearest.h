/* nearest.h - finds the word that a misspelled one probably means, by Levenshtein distance. */
#ifndef LONGQLORA_NEAREST_H
#define LONGQLORA_NEAREST_H

/* Returns the word of words[count] that is nearest to `typed`, or NULL if none is near: at most a
 * third of the letters of `typed`, and one more, may have to be inserted, removed or replaced. Of
 * several words the first is returned. The result is a pointer from the list. */
const char *nearest_word(const char *typed, const char *const *words, int count);

#endif
