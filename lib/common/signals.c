#include "lib/common/signals.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* The signals that end a program by default. The list leaves out signals of faults (SIGSEGV,
 * SIGABRT and so on), because a core dump tells what went wrong. It leaves out SIGPIPE and SIGBUS,
 * because they concern the thread that writes or reads. end_at adds the real-time signals. */
static const int ends[] = { SIGINT,    SIGTERM, SIGHUP,    SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU,
                            SIGVTALRM, SIGALRM, SIGSTKFLT, SIGPROF, SIGIO,   SIGPWR };
enum { ENDS = sizeof ends / sizeof *ends };

static pthread_t main_thread;

/* Returns the i-th of the signals that end a program: first the list's, then the real-time ones.
 * Returns 0 after the last. */
static int end_at(int i)
{
    if (i < ENDS) return ends[i];
    int number = SIGRTMIN + i - ENDS;
    return number <= SIGRTMAX ? number : 0;
}

void signals_use_stack(void *stack)
{
    stack_t given = { .ss_sp = stack, .ss_size = SIGNAL_STACK_BYTES }, now;
    if (!sigaltstack(NULL, &now) && now.ss_flags & SS_DISABLE) sigaltstack(&given, NULL);
}

void signals_begin(void)
{
    static _Alignas(64) char stack[SIGNAL_STACK_BYTES];
    main_thread = pthread_self();
    signals_use_stack(stack);
    signal(SIGXFSZ, SIG_IGN);
}

bool signal_handle(int number, void (*handler)(int), bool restarts)
{
    struct sigaction action = { .sa_handler = handler,
                                .sa_flags = SA_ONSTACK | (restarts ? SA_RESTART : 0) },
                     now;
    if (!sigaction(number, NULL, &now) && now.sa_handler == SIG_IGN) return false;
    signals_begin();
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGBUS);
    if (sigaction(number, &action, NULL)) return false;
    /* The parent process may have left this signal blocked. */
    sigset_t only_this;
    sigemptyset(&only_this);
    sigaddset(&only_this, number);
    pthread_sigmask(SIG_UNBLOCK, &only_this, NULL);
    return true;
}

void signals_handle_ends(void (*handler)(int), bool restarts)
{
    for (int i = 0, number; (number = end_at(i)); i++)
        signal_handle(number, handler, restarts);
}

void signals_block(sigset_t *before)
{
    sigset_t handled;
    sigemptyset(&handled);
    for (int i = 0, number; (number = end_at(i)); i++)
        sigaddset(&handled, number);
    pthread_sigmask(SIG_BLOCK, &handled, before);
}

void signals_unblock(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }

/* ---- SIGBUS ---- */

static bool (*bus_repair)(const void *address);
static void (*bus_handler)(const void *address);
static _Atomic(const void *) bus_address;

/* Lets the main thread end the program; other threads wait for that. Only the main thread makes and
 * renames outputs, so no output can appear after the handler has removed them. */
static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    const void *none = NULL;
    bool is_fault = info->si_code > 0; /* otherwise another thread or process sent the signal */
    if (info->si_code == BUS_ADRERR && bus_repair(info->si_addr)) return;
    if (is_fault) atomic_compare_exchange_strong(&bus_address, &none, info->si_addr);
    if (is_fault && !pthread_equal(pthread_self(), main_thread)) {
        pthread_kill(main_thread, number);
        for (;;)
            pause();
    }
    bus_handler(is_fault ? info->si_addr : atomic_load(&bus_address));
    signal(number, SIG_DFL);
    raise(number);
}

void signals_restore_bus(void)
{
    struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_ONSTACK | SA_SIGINFO };
    if (!bus_handler) return;
    sigfillset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

void signals_handle_bus(bool (*repair)(const void *address), void (*handler)(const void *address))
{
    sigset_t bus;
    bus_repair = repair;
    bus_handler = handler;
    signals_restore_bus();
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}
