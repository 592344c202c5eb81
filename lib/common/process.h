/* process.h - makes the process a good one, whatever it was started with.
 *
 * Programs are started with descriptors closed, with signals ignored, with a stack of any size and
 * with limits on files. What all code may assume of its process is made true here, once.
 */
#ifndef LONGQLORA_PROCESS_H
#define LONGQLORA_PROCESS_H

#include <pthread.h>
#include <stdbool.h>

/* The first thing that a program does. From here on
 * - descriptors 0 to 2 are open: what was closed fails when it is read or written, and no file that
 *   is opened later takes its number, so that no message lands in an output; and they wait, when
 *   they are read or written, for who is slower;
 * - a file that grows beyond its limit (ulimit -f) is an error of write, EFBIG, and no signal;
 * - stacks of threads have a size of their own, whatever ulimit -s says;
 * - the main thread has a stack for handlers of signals. */
void process_begin(void);
/* Has the main thread the stack that it needs, which is more than a limit may leave it (ulimit -s)?
 * *limit: that limit. Calls little, so that the answer can be given where it is no. */
bool process_has_stack(size_t *limit);

/* pthread_create for all threads of ours: with a stack of known size and one for handlers of
 * signals; the thread takes none of the signals that ask a program to end. Returns errno. */
int process_thread(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
