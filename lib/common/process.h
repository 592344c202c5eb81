/* process.h - gives the process a known state, however it was started.
 *
 * A program may be started with closed descriptors, ignored signals, any stack size and limits on
 * files. process_begin repairs this once, so that no other code has to deal with it.
 */
#ifndef LONGQLORA_PROCESS_H
#define LONGQLORA_PROCESS_H

#include <pthread.h>
#include <stdbool.h>

/* Every program calls this first. Afterwards:
 * - Descriptors 0 to 2 are open. One that was closed fails when it is read or written. No file that
 *   is opened later gets the number of such a descriptor, so no message lands in an output. Reading
 *   and writing these descriptors blocks.
 * - If a file grows beyond its limit (ulimit -f), write fails with EFBIG, without a signal.
 * - Stacks of threads have a fixed size, which ulimit -s does not change.
 * - The main thread has a separate stack for signal handlers. */
void process_begin(void);
/* Is the main thread's stack large enough? ulimit -s may limit it; *limit becomes that limit and
 * *needed the limit that is enough, both in bytes. The environment and the arguments lie on the
 * same stack, so the need grows with them. The function calls little, because it must work on a
 * small stack too. */
bool process_has_stack(size_t *limit, size_t *needed);

/* Starts a thread as pthread_create does. All our threads are made here. The thread has a stack of
 * known size and another stack for signal handlers, and blocks the signals that ask a program to
 * end. Returns an errno, or 0. */
int process_thread(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
