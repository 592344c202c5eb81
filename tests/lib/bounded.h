/* bounded.h - measures how much memory a function takes, for tests of limits.
 */
#ifndef LONGQLORA_BOUNDED_H
#define LONGQLORA_BOUNDED_H

#include <stdbool.h>
#include <stddef.h>

/* False with sanitizers, which take memory of their own. */
bool bounded_is_measured(void);

/* The work of bounded_work may call this. Limits the child process to `bytes` bytes of memory more
 * than it has at the call. Returns 0 or -1. Call it only if bounded_is_measured. */
int bounded_more(size_t bytes);

/* Runs the work in a child process. Fails if it does not return `expected`, or takes more than
 * `most` bytes at any moment. With sanitizers the memory is not checked. */
void bounded_work(int (*work)(void), int expected, size_t most);

#endif
