/* signals.h - installs signal handlers that are safe in a program that uses oneDNN.
 *
 * The machine code that oneDNN generates for sgemm uses the stack pointer as a general register. If
 * a signal arrived at that moment, the kernel would write a signal frame (3 KiB, or 11 KiB with
 * AMX) into the heap. So every thread has a separate stack for signal handlers (process.h sets it
 * up), and only the main thread receives signals from other processes.
 *
 * A signal that was ignored when the program started stays ignored, because nohup, and shells that
 * start background jobs, rely on it.
 */
#ifndef LONGQLORA_SIGNALS_H
#define LONGQLORA_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

enum { SIGNAL_STACK_BYTES = 1 << 16 };

/* Called by process_begin and by signal_handle. Remembers the calling thread as the main thread,
 * gives it a stack for signal handlers, and makes SIGXFSZ an error of write. */
void signals_begin(void);
/* Sets the calling thread's signal stack, of SIGNAL_STACK_BYTES, unless it has one. The memory must
 * outlive the thread. */
void signals_use_stack(void *stack);

/* Installs a handler; only the main thread may call it. With restarts false, a system call that the
 * signal interrupts fails with EINTR. All signals but SIGBUS wait while the handler runs. Unblocks
 * the signal. Returns false, and changes nothing, if the signal is ignored. */
bool signal_handle(int number, void (*handler)(int), bool restarts);
/* Installs a handler for every signal that asks a program to end: signals of terminals (SIGINT,
 * SIGHUP, SIGQUIT), and signals that batch systems send before they kill (SIGTERM, SIGUSR1,
 * SIGUSR2, SIGXCPU). Other signals that end a program by default are handled too (SIGALRM,
 * SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, real-time signals). Signals of faults and SIGPIPE
 * are not among them. */
void signals_handle_ends(void (*handler)(int), bool restarts);

/* signals_block blocks these signals in the calling thread, and signals_unblock restores the mask.
 * Threads created between the two calls inherit the block. */
void signals_block(sigset_t *before);
void signals_unblock(const sigset_t *before);

/* Installs handlers for SIGBUS, which a thread gets when it reads mapped bytes that the file no
 * longer has. `repair` runs first, in the thread that reads. If it returns true, the bytes can be
 * read now, and the thread goes on. Otherwise `handler` runs, always in the main thread, and gets
 * the address. If it returns, the program dies of SIGBUS. */
void signals_handle_bus(bool (*repair)(const void *address), void (*handler)(const void *address));
/* Installs the handlers of signals_handle_bus again, after a library has replaced them. Does
 * nothing if there are none. */
void signals_restore_bus(void);

#endif
