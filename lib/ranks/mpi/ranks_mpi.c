/* Carries messages by MPI. A plug-in (ranks-mpi.so), so that the programs need no MPI.
 *
 * MPI moves messages only inside of its functions. So that they also move while a rank computes, a
 * progress thread tests them from time to time. Only one thread calls MPI at a time. */
#include "lib/common/buffer.h"
#include "lib/ranks/ranks.h"

#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* Bytes. A long message is sent in pieces of this size, so that mpi_test can tell that it moves. */
static const size_t piece = (size_t)1 << 20;

/* The pieces of a ticket's messages that have not moved yet. requests[i] goes to or comes from rank
 * peers[i]; `ended` is working memory of MPI_Testsome. code: MPI's error, if a piece has failed.
 * has_moved: has a piece moved since the last mpi_test? */
static struct mpi_transfers {
    MPI_Request *requests;
    int *peers, *ended;
    size_t count, requests_capacity, peers_capacity, ended_capacity;
    int code;
    bool has_moved;
} transfers[RANKS_TICKETS];

static struct progress_thread {
    pthread_t thread;
    pthread_mutex_t lock; /* of all that is in this file, and of MPI */
    pthread_cond_t wake;
    /* was_tested: has the rank itself called mpi_test since the thread last tested? */
    bool runs, is_ending, was_tested;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static int failure(int code, const char *what, struct fail *why)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(code, text, &length);
    return fail(why, "ranks: %s: %s", what, text);
}

/* ---- progress ---- */

/* Lets MPI move pieces of a ticket's messages, and removes those that have moved from *m. */
static void test_transfers(struct mpi_transfers *m)
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

/* Tests the messages of all tickets. Returns how many pieces are left. */
static size_t test_all_transfers(void)
{
    size_t left = 0;
    for (int i = 0; i < RANKS_TICKETS; i++) {
        test_transfers(&transfers[i]);
        if (transfers[i].code == MPI_SUCCESS) left += transfers[i].count;
    }
    return left;
}

/* Tests the messages from time to time, as long as there are any. It leaves out a test if the rank
 * waits for them and so has tested them itself. The pause between two tests grows while nothing
 * moves, because the thread may share its CPU with one that computes. */
static void *progress_main(void *unused)
{
    enum { PAUSE_MIN = 200000, PAUSE_MAX = 2000000 }; /* nanoseconds */
    struct timespec pause = { 0, PAUSE_MIN };
    size_t before = 0;
    (void)unused;
    pthread_mutex_lock(&progress.lock);
    while (!progress.is_ending) {
        size_t left = progress.was_tested ? before : test_all_transfers();
        if (!left && !progress.was_tested) {
            pthread_cond_wait(&progress.wake, &progress.lock);
            pause.tv_nsec = PAUSE_MIN;
            continue;
        }
        if (progress.was_tested) pause.tv_nsec = PAUSE_MAX;
        if (left < before) pause.tv_nsec = PAUSE_MIN;
        progress.was_tested = false;
        pthread_mutex_unlock(&progress.lock);
        nanosleep(&pause, NULL);
        if (left >= before && pause.tv_nsec < PAUSE_MAX) pause.tv_nsec *= 2;
        before = left;
        pthread_mutex_lock(&progress.lock);
    }
    pthread_mutex_unlock(&progress.lock);
    return NULL;
}

/* Starts the thread, if this MPI allows several. Signals go to the thread that computes. If the
 * thread cannot be started, messages move when the rank waits for them. */
static void start_progress(int level)
{
    sigset_t all, before;
    if (level < MPI_THREAD_SERIALIZED) return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    progress.runs = !pthread_create(&progress.thread, NULL, progress_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_progress(void)
{
    if (!progress.runs) return;
    pthread_mutex_lock(&progress.lock);
    progress.is_ending = true;
    pthread_cond_signal(&progress.wake);
    pthread_mutex_unlock(&progress.lock);
    pthread_join(progress.thread, NULL);
}

/* ---- the transport ---- */

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
    start_progress(level);
    return 0;
}

static int begin_message(struct mpi_transfers *m, int ticket, const struct ranks_message *message,
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
    struct mpi_transfers *m = &transfers[ticket];
    int status = 0;
    pthread_mutex_lock(&progress.lock);
    must(!m->count);
    m->has_moved = false;
    for (int i = 0; i < in_count && !status; i++)
        status = begin_message(m, ticket, &in[i], 1, why);
    for (int i = 0; i < out_count && !status; i++)
        status = begin_message(m, ticket, &out[i], 0, why);
    pthread_cond_signal(&progress.wake);
    pthread_mutex_unlock(&progress.lock);
    return status;
}

static int mpi_test(int ticket, int *peer, struct fail *why)
{
    struct mpi_transfers *m = &transfers[ticket];
    pthread_mutex_lock(&progress.lock);
    test_transfers(m);
    progress.was_tested = true;
    int moved = !m->count ? RANKS_ALL : m->has_moved ? RANKS_SOME : RANKS_NOTHING;
    if (m->count) *peer = m->peers[0];
    if (m->code != MPI_SUCCESS) moved = failure(m->code, "waiting for a message", why);
    m->has_moved = false;
    pthread_mutex_unlock(&progress.lock);
    return moved;
}

/* If the lock is not free within a second, this rank may have failed inside of MPI and hold the
 * lock itself. It then ends the ranks without the lock. */
static void mpi_abort(int status)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    (void)pthread_mutex_timedlock(&progress.lock, &until);
    MPI_Abort(MPI_COMM_WORLD, status);
}

static void mpi_close(void)
{
    stop_progress();
    for (int i = 0; i < RANKS_TICKETS; i++) {
        free(transfers[i].requests);
        free(transfers[i].peers);
        free(transfers[i].ended);
    }
    MPI_Finalize();
}

__attribute__((visibility("default"))) const struct ranks_transport ranks_transport = {
    .version = RANKS_VERSION,
    .size = sizeof(struct ranks_transport),
    .name = "mpi",
    .open = mpi_open,
    .begin = mpi_begin,
    .test = mpi_test,
    .abort = mpi_abort,
    .close = mpi_close,
};
