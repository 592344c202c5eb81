#include "signals.h"

#include <pthread.h>

void signal_handle(int number, void (*handler)(int), bool restarts)
{
    static _Alignas(64) char room[1 << 16];
    stack_t stack = { .ss_sp = room, .ss_size = sizeof room }, now;
    if (!sigaltstack(NULL, &now) && now.ss_flags & SS_DISABLE) sigaltstack(&stack, NULL);
    struct sigaction action = { .sa_handler = handler,
                                .sa_flags = SA_ONSTACK | (restarts ? SA_RESTART : 0) },
                     before;
    if (!sigaction(number, NULL, &before) && before.sa_handler == SIG_IGN) return;
    sigaction(number, &action, NULL);
}

void signals_block(sigset_t *before)
{
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGHUP);
    sigaddset(&handled, SIGUSR1);
    sigaddset(&handled, SIGXCPU);
    pthread_sigmask(SIG_BLOCK, &handled, before);
}

void signals_unblock(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }
