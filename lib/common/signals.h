/* signals.h - handlers of signals, for programs that multiply matrices.
 *
 * Code that oneDNN generates takes the stack pointer as one more register: inside its sgemm it
 * points into the heap, where the kernel would then write a signal's frame, of 3 KiB and with AMX
 * of 11. So handlers have a stack of their own in each thread (process.h gives it to threads), and
 * only the main thread is interrupted by what other processes send.
 *
 * A signal that was ignored when the program started stays ignored: nohup and shells that start
 * jobs in the background ask for that.
 */
#ifndef LONGQLORA_SIGNALS_H
#define LONGQLORA_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

enum { SIGNAL_STACK_BYTES = 1 << 16 };

/* Part of process_begin: remembers the calling thread as the main one, gives it a stack for
 * handlers, and makes SIGXFSZ an error of write. */
void signals_begin(void);
/* SIGNAL_STACK_BYTES for the calling thread's handlers, where it has none. */
void signals_use_stack(void *stack);

/* From now on the calling thread, which is the main one, handles that signal; a system call that it
 * interrupts fails with EINTR unless it `restarts`. While the handler runs, other signals wait. A
 * signal that was blocked is not any more. False, and nothing changes, if the signal is ignored. */
bool signal_handle(int number, void (*handler)(int), bool restarts);
/* The same for each signal that asks a program to end: those of terminals (SIGINT, SIGHUP,
 * SIGQUIT), what batch systems send before they kill (SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU), and
 * whatever else would end a program that does not handle it: clocks (SIGALRM, SIGVTALRM, SIGPROF),
 * SIGIO, SIGPWR, SIGSTKFLT and those of real time. Not those of faults, nor SIGPIPE. */
void signals_handle_ends(void (*handler)(int), bool restarts);

/* Threads made between the two take none of those signals. */
void signals_block(sigset_t *before);
void signals_unblock(const sigset_t *before);

/* From now on SIGBUS, which a thread gets that reads mapped bytes which the file has no more, ends
 * in the main thread, wherever that is: the handler gets the address. If it returns, the program
 * dies of SIGBUS. */
void signals_handle_bus(void (*handler)(const void *address));

#endif
