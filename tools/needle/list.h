/* list.h - the texts of the tasks that have no filler: a numbered list of words, and code words.
 */
#ifndef LONGQLORA_NEEDLE_LIST_H
#define LONGQLORA_NEEDLE_LIST_H

#include "tools/needle/problem.h"

/* Writes the i-th of the words that occur most often in the list. */
void list_answer(const struct problem *p, uint64_t i, char text[DRAW_TEXT]);

/* Returns a number of words such that the task `frequent` can be made of any list that has as many
 * or more. A shorter list may be impossible, because two of the words that are asked for would
 * occur equally often. */
size_t list_enough(const struct problem *p);

/* Appends the list of n words and then `pad`. Returns 1 if n is so small that the words that are
 * asked for would not occur more often than all others. */
int list_add(const struct problem *p, size_t n, const char *pad, size_t pad_bytes, struct text *to,
             struct fail *why) MUST_USE;

#endif
