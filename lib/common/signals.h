/* signals.h - handlers of signals, for programs that multiply matrices.
 *
 * Code that oneDNN generates takes the stack pointer as one more register: inside its sgemm it
 * points into the heap, where the kernel would then write a signal's frame, of 3 KiB and with AMX
 * of 11. So handlers have a stack of their own, and only the thread that installs them is
 * interrupted.
 */
#ifndef LONGQLORA_SIGNALS_H
#define LONGQLORA_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* From now on the calling thread, which is the main one, handles that signal; a system call that it
 * interrupts fails with EINTR unless it `restarts`. One that was ignored when the program started
 * (nohup) stays ignored. */
void signal_handle(int number, void (*handler)(int), bool restarts);

/* Threads made between the two take none of the signals that programs handle. */
void signals_block(sigset_t *before);
void signals_unblock(const sigset_t *before);

#endif
