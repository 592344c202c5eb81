/* nearest.h - which word of a list was meant by one that is misspelled. */
#ifndef LONGQLORA_NEAREST_H
#define LONGQLORA_NEAREST_H

/* The word of the list that is nearest to what was typed; NULL if none is near. */
const char *nearest_word(const char *typed, const char *const *words, int count);

#endif
