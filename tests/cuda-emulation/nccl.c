/* NCCL for processes of one machine whose GPUs are emulated, as a library libnccl.so.2. It has the
 * functions that kernels/cuda/messages.cu calls, and moves bytes through a file that the processes
 * map. No bytes move before an event behind them is queried, so whoever does not wait for messages
 * computes with other bytes. A group is taken over after the state was asked for a few times.
 *
 * EMULATED_NCCL_VERSION: the version's code. EMULATED_NCCL_LOG names a file, to which each process
 * adds a line when it closes: its rank, and the groups and bytes that it sent, without the first
 * group, which is the probe. EMULATED_NCCL_FAULT, with the number of a group from 0 on where there
 * is an N:
 *     id        ncclGetUniqueId fails
 *     open      ncclCommInitRankConfig fails
 *     connect   connecting never ends
 *     garble    the bytes of the first message that comes are changed
 *     error=N   the communicator fails when group N is taken over
 *     refuse=N  ncclGroupEnd fails
 *     stuck=N   group N never moves
 *     abort=N   as stuck, and ncclCommAbort never returns
 */
#include "tests/cuda-emulation/nccl.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DONE = 0, INTERNAL_ERROR = 3, INVALID_ARGUMENT = 4, REMOTE_ERROR = 6, IN_PROGRESS = 7 };
enum { MOST_RANKS = 8, RING = 1 << 16, POLLS = 2, MOST_MESSAGES = 1024, MAGIC = 0xcafebeef };
#define EXPORT __attribute__((visibility("default")))

/* Bytes from one rank to another. `written` and `read` count all bytes so far. */
struct ring {
    _Atomic uint64_t written, read;
    char bytes[RING];
};
struct shared {
    atomic_int joined;
    struct ring rings[MOST_RANKS][MOST_RANKS]; /* [from][to] */
};

/* A message is its size, 8 bytes, and then its bytes. `moved` counts all of these. */
struct message {
    char *at;
    size_t bytes, moved;
    uint64_t size;
    int peer;
    bool is_in;
};
struct group {
    struct message *messages;
    int count, polls;
    struct group *next;
};

struct id {
    char path[128];
};
struct config {
    size_t size;
    unsigned magic, version;
    int blocking, unused;
};

struct comm {
    struct shared *shared;
    int rank, count, state, polls;
    char path[128];
};

static const struct emulated_memory *memory;
static struct comm comm;
static struct group *first, **last = &first; /* groups that have not moved */
static struct message collected[MOST_MESSAGES];
static int collected_count, depth, groups;
static uint64_t bytes_sent;

static bool has_fault(const char *name)
{
    const char *fault = getenv("EMULATED_NCCL_FAULT");
    return fault && !strcmp(fault, name);
}

static bool has_fault_at(const char *name, uint64_t group)
{
    char text[64];
    snprintf(text, sizeof text, "%s=%llu", name, (unsigned long long)group);
    return has_fault(text);
}

/* ---- moving ---- */

static void move(void);
static struct emulated_nccl state = { .move = move };

static struct ring *ring_of(const struct message *m)
{
    return m->is_in ? &comm.shared->rings[m->peer][comm.rank]
                    : &comm.shared->rings[comm.rank][m->peer];
}

/* Moves at most `bytes` bytes of a part of a message, as far as the ring has them, or has space. */
static size_t move_part(struct ring *r, bool is_in, bool is_on_device, char *at, size_t bytes)
{
    uint64_t waiting = r->written - r->read;
    size_t most = is_in ? waiting : RING - waiting, from = (is_in ? r->read : r->written) % RING;
    if (bytes > most) bytes = most;
    if (bytes > RING - from) bytes = RING - from;
    if (!bytes) return 0;
    if (!is_on_device)
        memcpy(is_in ? at : r->bytes + from, is_in ? r->bytes + from : at, bytes);
    else if (is_in)
        memory->store(at, r->bytes + from, bytes);
    else
        memory->load(r->bytes + from, at, bytes);
    if (is_in)
        r->read += bytes;
    else
        r->written += bytes;
    return bytes;
}

/* Moves what can move now. Returns whether all of the message has moved. */
static bool move_message(struct message *m)
{
    struct ring *r = ring_of(m);
    size_t n = 1;
    while (n && m->moved < sizeof m->size + m->bytes) {
        bool is_size = m->moved < sizeof m->size;
        size_t before = is_size ? 0 : sizeof m->size, end = is_size ? 8 : 8 + m->bytes;
        char *at = is_size ? (char *)&m->size : m->at;
        if (!m->moved && !m->is_in) m->size = m->bytes;
        n = move_part(r, m->is_in, !is_size, at + m->moved - before, end - m->moved);
        m->moved += n;
        if (is_size && m->moved == sizeof m->size && m->size != m->bytes) {
            fprintf(stderr,
                    "emulated NCCL: rank %d expects %zu bytes of rank %d, which sends %llu\n",
                    comm.rank, m->bytes, m->peer, (unsigned long long)m->size);
            comm.state = INTERNAL_ERROR;
            return false;
        }
    }
    return m->moved == sizeof m->size + m->bytes;
}

/* Messages between the same two ranks move one after the other. */
static bool move_group(struct group *g)
{
    bool waits[2][MOST_RANKS] = { 0 }, all = true;
    for (int i = 0; i < g->count; i++) {
        struct message *m = &g->messages[i];
        bool *is_behind = &waits[m->is_in][m->peer];
        if (!*is_behind && !move_message(m)) *is_behind = true;
        all = all && !*is_behind;
    }
    return all;
}

static void move(void)
{
    while (first && first->polls <= 0 && comm.state != INTERNAL_ERROR &&
           !has_fault_at("stuck", state.groups_moved) &&
           !has_fault_at("abort", state.groups_moved) && move_group(first)) {
        struct group *g = first;
        if (!state.groups_moved && has_fault("garble"))
            for (int i = 0; i < g->count; i++)
                if (g->messages[i].is_in) memory->store(g->messages[i].at, "garbled", 7);
        state.groups_moved++;
        first = g->next;
        if (!first) last = &first;
        free(g->messages);
        free(g);
    }
}

EXPORT struct emulated_nccl *emulated_nccl_use(const struct emulated_memory *of_gpu)
{
    memory = of_gpu;
    return &state;
}

/* ---- the functions of NCCL ---- */

EXPORT int ncclGetVersion(int *code)
{
    const char *asked = getenv("EMULATED_NCCL_VERSION");
    *code = asked ? (int)strtol(asked, NULL, 10) : 22703;
    return DONE;
}

EXPORT const char *ncclGetErrorString(int result)
{
    return result == REMOTE_ERROR ? "an emulated remote error" : "an emulated error";
}

EXPORT const char *ncclGetLastError(struct comm *unused)
{
    (void)unused;
    return "";
}

/* The file lies in the current folder, which all ranks share. */
EXPORT int ncclGetUniqueId(struct id *id)
{
    if (has_fault("id")) return INTERNAL_ERROR;
    snprintf(id->path, sizeof id->path, "emulated-nccl.%d", (int)getpid());
    int file = open(id->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof(struct shared))) return INTERNAL_ERROR;
    close(file);
    return DONE;
}

EXPORT int ncclCommInitRankConfig(struct comm **out, int count, struct id id, int rank,
                                  struct config *config)
{
    if (config->size != 24 || config->magic != MAGIC || config->version != 21400 ||
        config->blocking || count > MOST_RANKS || rank < 0 || rank >= count)
        return INVALID_ARGUMENT;
    const char *blocking = getenv("NCCL_COMM_BLOCKING");
    if (!blocking || strcmp(blocking, "0") != 0) return INVALID_ARGUMENT;
    if (has_fault("open")) return INTERNAL_ERROR;
    int file = open(id.path, O_RDWR | O_CLOEXEC);
    void *map =
        file < 0 ? MAP_FAILED
                 : mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) return INTERNAL_ERROR;
    close(file);
    comm = (struct comm){ .shared = map, .rank = rank, .count = count, .state = IN_PROGRESS };
    snprintf(comm.path, sizeof comm.path, "%s", id.path);
    comm.shared->joined++;
    *out = &comm;
    return IN_PROGRESS;
}

/* The state changes when it is asked for. */
EXPORT int ncclCommGetAsyncError(struct comm *c, int *result)
{
    if (c->state == IN_PROGRESS && !groups && c->shared->joined == c->count &&
        !has_fault("connect")) {
        c->state = DONE;
        unlink(c->path);
    }
    for (struct group *g = first; g && c->state != INTERNAL_ERROR; g = g->next) {
        if (g->polls <= 0 || --g->polls > 0) continue;
        c->state = has_fault_at("error", state.groups_begun) ? REMOTE_ERROR : DONE;
        state.groups_begun++;
    }
    *result = c->state;
    return DONE;
}

EXPORT int ncclGroupStart(void)
{
    if (comm.state != DONE || depth++) return INVALID_ARGUMENT;
    collected_count = 0;
    return DONE;
}

static int collect(void *at, size_t bytes, int peer, bool is_in)
{
    if (!depth || collected_count == MOST_MESSAGES || peer == comm.rank || peer >= comm.count)
        return INVALID_ARGUMENT;
    collected[collected_count++] =
        (struct message){ .at = at, .bytes = bytes, .peer = peer, .is_in = is_in };
    return DONE;
}

EXPORT int ncclSend(const void *from, size_t count, int type, int peer, struct comm *c, int stream)
{
    (void)c, (void)stream;
    if (type != 1) return INVALID_ARGUMENT;
    if (groups) bytes_sent += count;
    return collect((void *)(uintptr_t)from, count, peer, false);
}

EXPORT int ncclRecv(void *to, size_t count, int type, int peer, struct comm *c, int stream)
{
    (void)c, (void)stream;
    return type == 1 ? collect(to, count, peer, true) : INVALID_ARGUMENT;
}

EXPORT int ncclGroupEnd(void)
{
    if (depth-- != 1 || has_fault_at("refuse", (uint64_t)groups)) return INVALID_ARGUMENT;
    struct group *g = calloc(1, sizeof *g);
    if (!g || !(g->messages = calloc((size_t)collected_count + 1, sizeof *g->messages)))
        return INTERNAL_ERROR;
    memcpy(g->messages, collected, (size_t)collected_count * sizeof *collected);
    g->count = collected_count;
    g->polls = POLLS;
    for (int i = 0; i < g->count; i++)
        memory->begin(g->messages[i].is_in ? g->messages[i].at : NULL, g->messages[i].bytes);
    *last = g;
    last = &g->next;
    groups++;
    comm.state = IN_PROGRESS;
    return IN_PROGRESS;
}

EXPORT int ncclCommAbort(struct comm *c)
{
    const char *path = getenv("EMULATED_NCCL_LOG");
    if (has_fault_at("abort", state.groups_moved)) pause();
    FILE *log = path ? fopen(path, "a") : NULL;
    if (!log) return DONE;
    fprintf(log, "%d %d %llu\n", c->rank, groups - 1, (unsigned long long)bytes_sent);
    fclose(log);
    return DONE;
}
