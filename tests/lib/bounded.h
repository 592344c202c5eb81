/* bounded.h - how much memory something takes: for tests of limits. */
#ifndef LONGQLORA_BOUNDED_H
#define LONGQLORA_BOUNDED_H

#include <stdbool.h>
#include <stddef.h>

/* False where sanitizers take memory of their own. */
bool bounded_is_measured(void);

/* Does the work in a child process, which must return what is expected, and fails if it took more
 * than so many bytes at once. Sanitizers, whose own memory counts, only do the work. */
void bounded_work(int (*work)(void), int expected, size_t most);

#endif
