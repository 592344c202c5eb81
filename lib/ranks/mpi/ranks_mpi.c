/* Carries messages by MPI. A plug-in (ranks-mpi.so), so that the programs need no MPI.
 *
 * MPI moves messages only inside of its functions. So that they also move while a rank computes, a
 * thread looks at them from time to time. Only one thread calls MPI at a time. */
#include "lib/common/buffer.h"
#include "lib/ranks/ranks.h"

#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* A long message is sent in pieces. The end of each shows that the message moves. */
static const size_t piece = (size_t)1 << 20;

/* The messages of a ticket that have not moved yet. code: MPI's error, if one has failed.
 * has_moved: has one moved since the last mpi_test? */
static struct moving {
    MPI_Request *requests;
    int *peers, *ended;
    size_t count, requests_capacity, peers_capacity, ended_capacity;
    int code;
    bool has_moved;
} moving[RANKS_TICKETS];

static struct mover {
    pthread_t thread;
    pthread_mutex_t lock; /* of all that is in this file, and of MPI */
    pthread_cond_t wake;
    /* looked: has the rank itself looked at its messages since the thread did? */
    bool runs, leaves, looked;
} mover = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static int failure(int code, const char *what, struct fail *why)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(code, text, &length);
    return fail(why, "ranks: %s: %s", what, text);
}

/* ---- moving ---- */

/* Lets MPI move messages of a ticket, and forgets those that have moved. */
static void move(struct moving *m)
{
    int ended = 0;
    size_t left = 0;
    if (!m->count || m->code != MPI_SUCCESS) return;
    m->code = MPI_Testsome((int)m->count, m->requests, &ended, m->ended, MPI_STATUSES_IGNORE);
    if (m->code != MPI_SUCCESS || ended <= 0) return;
    m->has_moved = true;
    for (size_t i = 0; i < m->count; i++) {
        if (m->requests[i] == MPI_REQUEST_NULL) continue;
        m->peers[left] = m->peers[i];
        m->requests[left++] = m->requests[i];
    }
    m->count = left;
}

/* Moves messages of all tickets. Returns how many pieces are left. */
static size_t move_all(void)
{
    size_t left = 0;
    for (int i = 0; i < RANKS_TICKETS; i++) {
        move(&moving[i]);
        if (moving[i].code == MPI_SUCCESS) left += moving[i].count;
    }
    return left;
}

/* Looks at the messages from time to time, as long as there are any, and the rank does not look
 * itself because it waits for them. The time between two looks grows while nothing moves, because
 * the thread may share its CPU with one that computes. */
static void *mover_main(void *unused)
{
    enum { SHORTEST = 200000, LONGEST = 2000000 }; /* nanoseconds */
    struct timespec pause = { 0, SHORTEST };
    size_t before = 0;
    (void)unused;
    pthread_mutex_lock(&mover.lock);
    while (!mover.leaves) {
        size_t left = mover.looked ? before : move_all();
        if (!left && !mover.looked) {
            pthread_cond_wait(&mover.wake, &mover.lock);
            pause.tv_nsec = SHORTEST;
            continue;
        }
        if (mover.looked) pause.tv_nsec = LONGEST;
        if (left < before) pause.tv_nsec = SHORTEST;
        mover.looked = false;
        pthread_mutex_unlock(&mover.lock);
        nanosleep(&pause, NULL);
        if (left >= before && pause.tv_nsec < LONGEST) pause.tv_nsec *= 2;
        before = left;
        pthread_mutex_lock(&mover.lock);
    }
    pthread_mutex_unlock(&mover.lock);
    return NULL;
}

/* Starts the thread, if this MPI allows several. Signals go to the thread that computes. If the
 * thread cannot be started, messages move when the rank waits for them. */
static void start_mover(int level)
{
    sigset_t all, before;
    if (level < MPI_THREAD_SERIALIZED) return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    mover.runs = !pthread_create(&mover.thread, NULL, mover_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_mover(void)
{
    if (!mover.runs) return;
    pthread_mutex_lock(&mover.lock);
    mover.leaves = true;
    pthread_cond_signal(&mover.wake);
    pthread_mutex_unlock(&mover.lock);
    pthread_join(mover.thread, NULL);
}

/* ---- the carrier ---- */

static int mpi_open(struct ranks_place *place, struct fail *why)
{
    MPI_Comm machine;
    int level, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &place->rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &place->count);
    if (code == MPI_SUCCESS)
        code =
            MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(machine, &place->local_rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(machine, &place->local_count);
    if (code == MPI_SUCCESS) code = MPI_Comm_free(&machine);
    if (code != MPI_SUCCESS) return failure(code, "opening MPI", why);
    start_mover(level);
    return 0;
}

static int begin_message(struct moving *m, int ticket, const struct ranks_message *message,
                         int is_in, struct fail *why)
{
    for (size_t at = 0; at < message->bytes; at += piece) {
        int bytes = (int)(message->bytes - at < piece ? message->bytes - at : piece);
        int peer = message->peer, code;
        if (buffer_reserve(&m->requests, &m->requests_capacity, m->count, 1, why) ||
            buffer_reserve(&m->peers, &m->peers_capacity, m->count, 1, why) ||
            buffer_reserve(&m->ended, &m->ended_capacity, m->count, 1, why))
            return -1;
        MPI_Request *next = &m->requests[m->count];
        char *data = (char *)message->at + at;
        if (is_in)
            code = MPI_Irecv(data, bytes, MPI_BYTE, peer, ticket, MPI_COMM_WORLD, next);
        else
            code = MPI_Isend(data, bytes, MPI_BYTE, peer, ticket, MPI_COMM_WORLD, next);
        if (code != MPI_SUCCESS) return failure(code, "a message", why);
        m->peers[m->count++] = peer;
    }
    return 0;
}

static int mpi_begin(int ticket, const struct ranks_message *in, int in_count,
                     const struct ranks_message *out, int out_count, struct fail *why)
{
    struct moving *m = &moving[ticket];
    int status = 0;
    pthread_mutex_lock(&mover.lock);
    must(!m->count);
    m->has_moved = false;
    for (int i = 0; i < in_count && !status; i++)
        status = begin_message(m, ticket, &in[i], 1, why);
    for (int i = 0; i < out_count && !status; i++)
        status = begin_message(m, ticket, &out[i], 0, why);
    pthread_cond_signal(&mover.wake);
    pthread_mutex_unlock(&mover.lock);
    return status;
}

static int mpi_test(int ticket, int *peer, struct fail *why)
{
    struct moving *m = &moving[ticket];
    pthread_mutex_lock(&mover.lock);
    move(m);
    mover.looked = true;
    int moved = !m->count ? RANKS_ALL : m->has_moved ? RANKS_SOME : RANKS_NOTHING;
    if (m->count) *peer = m->peers[0];
    if (m->code != MPI_SUCCESS) moved = failure(m->code, "waiting for a message", why);
    m->has_moved = false;
    pthread_mutex_unlock(&mover.lock);
    return moved;
}

/* If the lock is not free for a second, this rank fails inside of MPI, and must end all the same.
 */
static void mpi_abort(int status)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    (void)pthread_mutex_timedlock(&mover.lock, &until);
    MPI_Abort(MPI_COMM_WORLD, status);
}

static void mpi_close(void)
{
    stop_mover();
    for (int i = 0; i < RANKS_TICKETS; i++) {
        free(moving[i].requests);
        free(moving[i].peers);
        free(moving[i].ended);
    }
    MPI_Finalize();
}

__attribute__((visibility("default"))) const struct ranks_carrier ranks_carrier = {
    .version = RANKS_VERSION,
    .size = sizeof(struct ranks_carrier),
    .name = "mpi",
    .open = mpi_open,
    .begin = mpi_begin,
    .test = mpi_test,
    .abort = mpi_abort,
    .close = mpi_close,
};
