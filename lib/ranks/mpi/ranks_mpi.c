/* Carries messages by MPI. A plug-in (ranks-mpi.so), so that the programs need no MPI. */
#include "lib/common/buffer.h"
#include "lib/ranks/ranks.h"

#include <mpi.h>
#include <stdlib.h>

/* MPI counts in int, so a long message is sent in pieces. */
static const size_t piece = (size_t)1 << 30;

struct moving {
    struct mpi_request {
        MPI_Request at;
        int peer;
    } * requests;
    size_t count, capacity;
};
static struct moving moving[RANKS_TICKETS];

static int failure(int code, const char *what, struct fail *why)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(code, text, &length);
    return fail(why, "ranks: %s: %s", what, text);
}

static int mpi_open(struct ranks_place *place, struct fail *why)
{
    MPI_Comm machine;
    int level, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &place->rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &place->count);
    if (code == MPI_SUCCESS)
        code =
            MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(machine, &place->local_rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(machine, &place->local_count);
    if (code == MPI_SUCCESS) code = MPI_Comm_free(&machine);
    return code == MPI_SUCCESS ? 0 : failure(code, "opening MPI", why);
}

static int begin_message(struct moving *m, int ticket, const struct ranks_message *message,
                         int is_in, struct fail *why)
{
    for (size_t at = 0; at < message->bytes; at += piece) {
        int bytes = (int)(message->bytes - at < piece ? message->bytes - at : piece);
        int peer = message->peer, code;
        if (buffer_reserve(&m->requests, &m->capacity, m->count, 1, why)) return -1;
        MPI_Request *next = &m->requests[m->count].at;
        char *data = (char *)message->at + at;
        if (is_in)
            code = MPI_Irecv(data, bytes, MPI_BYTE, peer, ticket, MPI_COMM_WORLD, next);
        else
            code = MPI_Isend(data, bytes, MPI_BYTE, peer, ticket, MPI_COMM_WORLD, next);
        if (code != MPI_SUCCESS) return failure(code, "a message", why);
        m->requests[m->count++].peer = peer;
    }
    return 0;
}

static int mpi_begin(int ticket, const struct ranks_message *in, int in_count,
                     const struct ranks_message *out, int out_count, struct fail *why)
{
    struct moving *m = &moving[ticket];
    must(!m->count);
    for (int i = 0; i < in_count; i++)
        if (begin_message(m, ticket, &in[i], 1, why)) return -1;
    for (int i = 0; i < out_count; i++)
        if (begin_message(m, ticket, &out[i], 0, why)) return -1;
    return 0;
}

static int mpi_test(int ticket, int *peer, struct fail *why)
{
    struct moving *m = &moving[ticket];
    size_t left = 0;
    for (size_t i = 0; i < m->count; i++) {
        int done;
        int code = MPI_Test(&m->requests[i].at, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return failure(code, "waiting for a message", why);
        if (done) continue;
        if (!left) *peer = m->requests[i].peer;
        m->requests[left++] = m->requests[i];
    }
    m->count = left;
    return !left;
}

static void mpi_abort(int status) { MPI_Abort(MPI_COMM_WORLD, status); }

static void mpi_close(void)
{
    for (int i = 0; i < RANKS_TICKETS; i++)
        free(moving[i].requests);
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
