/* Messages between the GPUs of several processes, by NCCL. It only moves bytes (ncclSend, ncclRecv)
 * and adds nothing up.
 *
 * NCCL is opened when it is asked for, so neither building nor running needs it. The few types and
 * functions below are declared here as its documentation describes them. All calls return at once,
 * because the communicator is nonblocking (from 2.14 on). A group of sends and receives is taken
 * over in the background; only then its kernels are on the stream, and an event behind them says
 * when they are done. */
#include "kernels/cuda/device.cuh"

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

enum { NCCL_DONE = 0, NCCL_IN_PROGRESS = 7 };
enum { NCCL_BYTE = 1 /* ncclUint8 */, NCCL_LEAST = 21400 };
static const unsigned nccl_magic = 0xcafebeef; /* of a configuration */
struct nccl_comm;
struct nccl_id {
    char bytes[MESSAGES_ID];
};
/* The configuration of 2.14. Later versions have more fields, and give those that an older program
 * does not know their usual values. */
struct nccl_config {
    size_t size;
    unsigned magic, version;
    int blocking, unused;
};
static_assert(sizeof(nccl_config) == 24 && sizeof(nccl_id) == 128, "the layout of NCCL 2.14");

static struct {
    bool was_sought;
    struct fail lack; /* why NCCL cannot be used */
    int code;         /* its version: 10000 · major + 100 · minor + patch */
    int (*version)(int *code);
    int (*make_id)(nccl_id *id);
    int (*open)(nccl_comm **comm, int count, nccl_id id, int rank, nccl_config *config);
    int (*abort)(nccl_comm *comm);
    int (*state)(nccl_comm *comm, int *result);
    int (*group_start)(), (*group_end)();
    int (*send)(const void *from, size_t count, int type, int rank, nccl_comm *comm,
                cudaStream_t stream);
    int (*receive)(void *to, size_t count, int type, int rank, nccl_comm *comm,
                   cudaStream_t stream);
    const char *(*error_text)(int result);
    const char *(*last_error)(nccl_comm *comm);
} nccl;

/* Before the first messages each process sends each other one a probe, and looks whether it gets
 * what the other sent. So NCCL has all its memory before anybody measures how much is free, and a
 * machine whose GPUs cannot reach each other properly is noticed. The probe has a ticket of its
 * own. */
enum { PROBE_WORDS = 1024, PROBE = MESSAGES_TICKETS, NOTHING_LAUNCHES = -1 };
enum links_phase { LINKS_CLOSED, LINKS_OPENING, LINKS_PROBING, LINKS_OPEN };

static struct {
    enum links_phase phase;
    int rank, count;
    nccl_comm *comm;
    cudaStream_t stream;
    cudaEvent_t queued, moved[MESSAGES_TICKETS + 1];
    int launching;   /* the ticket of the group that NCCL has not taken over yet */
    uint32_t *probe; /* [2, count, PROBE_WORDS] what is sent, and what comes */
} links;

/* ---- the library ---- */

static int nccl_failed(int result, const char *what, struct fail *why)
{
    const char *more = nccl.last_error(NULL);
    if (!more) more = "";
    int length = (int)strcspn(more, "\n");
    return fail(why, "NCCL: %s: %s%s%.*s", what, nccl.error_text(result), length ? ": " : "",
                length, more);
}

static int links_failed(cudaError_t error, struct fail *why)
{
    return fail(why, "device cuda: messages: %s", cudaGetErrorString(error));
}

/* NCCL's calls return at once only if nothing says otherwise: this variable, which may also stand
 * in a file that NCCL reads, would override the configuration of the communicator. */
static void never_block() { setenv("NCCL_COMM_BLOCKING", "0", 1); }

static int load_nccl(struct fail *why)
{
    struct {
        const char *name;
        void *function;
    } const symbols[] = {
        { "ncclGetVersion", &nccl.version },
        { "ncclGetUniqueId", &nccl.make_id },
        { "ncclCommInitRankConfig", &nccl.open },
        { "ncclCommAbort", &nccl.abort },
        { "ncclCommGetAsyncError", &nccl.state },
        { "ncclGroupStart", &nccl.group_start },
        { "ncclGroupEnd", &nccl.group_end },
        { "ncclSend", &nccl.send },
        { "ncclRecv", &nccl.receive },
        { "ncclGetErrorString", &nccl.error_text },
        { "ncclGetLastError", &nccl.last_error },
    };
    never_block();
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) return fail(why, "%s", dlerror());
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(library, symbols[i].name);
        if (!found)
            return fail(why, "libnccl.so.2 has no %s: NCCL must be 2.14 or later",
                        symbols[i].name);
        memcpy(symbols[i].function, &found, sizeof found);
    }
    int result = nccl.version(&nccl.code);
    return result == NCCL_DONE ? 0 : nccl_failed(result, "ncclGetVersion", why);
}

/* Up to 2.8 the version was coded otherwise: 1000 · major + 100 · minor + patch. */
static void name_version(char name[MESSAGES_NAME])
{
    int major = nccl.code < 10000 ? 1000 : 10000;
    snprintf(name, MESSAGES_NAME, "NCCL %d.%d.%d", nccl.code / major, nccl.code % major / 100,
             nccl.code % 100);
}

int messages_find(char name[MESSAGES_NAME], struct fail *why)
{
    *name = 0;
    if (!nccl.was_sought) {
        nccl.was_sought = true;
        if (!load_nccl(&nccl.lack)) name_version(name);
        if (*name && nccl.code < NCCL_LEAST) fail(&nccl.lack, "%s is older than 2.14", name);
    }
    if (*nccl.lack.text) {
        *why = nccl.lack;
        return -1;
    }
    name_version(name);
    return 0;
}

int messages_id(char id[MESSAGES_ID], struct fail *why)
{
    nccl_id made;
    cudaError_t error = device_use();
    if (error != cudaSuccess) return links_failed(error, why);
    int result = nccl.make_id(&made);
    if (result != NCCL_DONE) return nccl_failed(result, "ncclGetUniqueId", why);
    memcpy(id, &made, sizeof made);
    return 0;
}

/* ---- connecting ---- */

static uint32_t probe_word(int from, int to, int i)
{
    return (uint32_t)(from * links.count + to + 1) * 2654435761u + (uint32_t)i;
}

/* Makes the stream, the events and the probe. Messages go before later blocks of kernels, because
 * another GPU may wait for them. */
static cudaError_t make_links()
{
    int least = 0, greatest = 0;
    size_t words = (size_t)links.count * PROBE_WORDS;
    uint32_t *words_out = (uint32_t *)calloc(words, sizeof *words_out);
    void *probe = NULL;
    if (!words_out) return cudaErrorMemoryAllocation;
    for (int to = 0; to < links.count; to++)
        for (int i = 0; i < PROBE_WORDS; i++)
            words_out[to * PROBE_WORDS + i] = probe_word(links.rank, to, i);
    cudaError_t error = device_use();
    if (error == cudaSuccess) error = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithPriority(&links.stream, cudaStreamNonBlocking, greatest);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&links.queued, cudaEventDisableTiming);
    for (int i = 0; i <= MESSAGES_TICKETS && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(&links.moved[i], cudaEventDisableTiming);
    if (error == cudaSuccess) error = cudaMalloc(&probe, 2 * words * sizeof *words_out);
    links.probe = (uint32_t *)probe;
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(probe, words_out, words * sizeof *words_out, cudaMemcpyDefault,
                                links.stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(links.stream);
    free(words_out);
    return error;
}

int messages_open(const char id[MESSAGES_ID], int rank, int count, struct fail *why)
{
    nccl_id shared;
    nccl_config config = { sizeof config, nccl_magic, NCCL_LEAST, 0, 0 };
    must(links.phase == LINKS_CLOSED);
    memcpy(&shared, id, sizeof shared);
    links.rank = rank;
    links.count = count;
    links.launching = NOTHING_LAUNCHES;
    cudaError_t error = make_links();
    if (error != cudaSuccess) return links_failed(error, why);
    links.phase = LINKS_OPENING;
    int result = nccl.open(&links.comm, count, shared, rank, &config);
    if (result == NCCL_DONE || result == NCCL_IN_PROGRESS) return 0;
    return nccl_failed(result, "ncclCommInitRankConfig", why);
}

/* ---- groups ---- */

/* Hands a group of sends and receives over to NCCL. */
static int launch(int ticket, const struct device_message *list, int count, struct fail *why)
{
    int result = nccl.group_start();
    for (int i = 0; i < count && (result == NCCL_DONE || result == NCCL_IN_PROGRESS); i++) {
        const struct device_message *m = &list[i];
        result = m->is_in ? nccl.receive(m->at, m->bytes, NCCL_BYTE, m->rank, links.comm,
                                         links.stream)
                          : nccl.send(m->at, m->bytes, NCCL_BYTE, m->rank, links.comm,
                                      links.stream);
    }
    int ended = nccl.group_end();
    if (result == NCCL_DONE || result == NCCL_IN_PROGRESS) result = ended;
    if (result != NCCL_DONE && result != NCCL_IN_PROGRESS)
        return nccl_failed(result, "a group of messages", why);
    links.launching = ticket;
    return 0;
}

int messages_begin(struct device *dev, int ticket, const struct device_message *list, int count,
                   struct fail *why)
{
    must(ticket >= 0 && ticket < MESSAGES_TICKETS);
    must(links.phase == LINKS_OPEN && links.launching == NOTHING_LAUNCHES);
    cudaError_t error = cudaEventRecord(links.queued, dev->stream);
    if (error == cudaSuccess) error = cudaStreamWaitEvent(links.stream, links.queued, 0);
    return error == cudaSuccess ? launch(ticket, list, count, why) : links_failed(error, why);
}

/* Returns 1 if the ticket's list has moved. */
static int has_moved(int ticket, struct fail *why)
{
    cudaError_t error = cudaEventQuery(links.moved[ticket]);
    if (error == cudaErrorNotReady) return 0;
    return error == cudaSuccess ? 1 : links_failed(error, why);
}

static int begin_probe(struct fail *why)
{
    size_t bytes = PROBE_WORDS * sizeof *links.probe, n = 0;
    uint32_t *in = links.probe + links.count * PROBE_WORDS;
    struct device_message *list =
        (struct device_message *)calloc(2 * (size_t)links.count, sizeof *list);
    if (!list) return fail(why, "device cuda: out of memory");
    for (int peer = 0; peer < links.count; peer++) {
        if (peer == links.rank) continue;
        list[n++] = { peer, false, links.probe + peer * PROBE_WORDS, bytes };
        list[n++] = { peer, true, in + peer * PROBE_WORDS, bytes };
    }
    int status = launch(PROBE, list, (int)n, why);
    free(list);
    return status;
}

/* Compares what came with what the others sent. */
static int check_probe(struct fail *why)
{
    size_t words = (size_t)links.count * PROBE_WORDS;
    uint32_t *in = (uint32_t *)malloc(words * sizeof *in);
    int status = 0;
    if (!in) return fail(why, "device cuda: out of memory");
    cudaError_t error = cudaMemcpyAsync(in, links.probe + words, words * sizeof *in,
                                        cudaMemcpyDefault, links.stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(links.stream);
    if (error != cudaSuccess) status = links_failed(error, why);
    for (int from = 0; from < links.count && !status; from++)
        for (int i = 0; i < PROBE_WORDS && from != links.rank && !status; i++)
            if (in[from * PROBE_WORDS + i] != probe_word(from, links.rank, i))
                status = fail(why, "NCCL: what came from rank %d is not what it sent", from);
    free(in);
    cudaFree(links.probe);
    links.probe = NULL;
    return status;
}

/* Once NCCL has taken a group over, its kernels are on the stream. So the event comes behind
 * them. */
static int end_launch(struct fail *why)
{
    cudaError_t error = cudaEventRecord(links.moved[links.launching], links.stream);
    links.launching = NOTHING_LAUNCHES;
    return error == cudaSuccess ? 0 : links_failed(error, why);
}

int messages_ready(struct fail *why)
{
    int state = NCCL_DONE, moved;
    must(links.phase != LINKS_CLOSED);
    int result = nccl.state(links.comm, &state);
    if (result != NCCL_DONE) return nccl_failed(result, "ncclCommGetAsyncError", why);
    if (state == NCCL_IN_PROGRESS) return 0;
    if (state != NCCL_DONE)
        return nccl_failed(state, links.phase == LINKS_OPENING ? "connecting" : "messages", why);
    if (links.launching != NOTHING_LAUNCHES && end_launch(why)) return -1;
    if (links.phase == LINKS_OPEN) return 1;
    if (links.phase == LINKS_OPENING) {
        links.phase = LINKS_PROBING;
        return begin_probe(why) ? -1 : 0;
    }
    if ((moved = has_moved(PROBE, why)) <= 0) return moved;
    links.phase = LINKS_OPEN;
    return check_probe(why) ? -1 : 1;
}

int messages_test(int ticket, struct fail *why)
{
    int ready = messages_ready(why);
    must(ticket >= 0 && ticket < MESSAGES_TICKETS);
    int moved = ready <= 0 ? ready : has_moved(ticket, why);
    if (moved) return moved;
    cudaError_t error = cudaEventQuery(links.queued);
    if (error == cudaErrorNotReady) return 2;
    return error == cudaSuccess ? 0 : links_failed(error, why);
}

/* ---- the end ---- */

static void *abort_comm(void *comm)
{
    nccl.abort((nccl_comm *)comm);
    return NULL;
}

/* A thread ends the communicator, so that this process can go on to report its failure even if
 * NCCL's function hangs. */
void messages_close(void)
{
    enum { SECONDS = 2 };
    pthread_t thread;
    struct timespec until;
    if (links.phase == LINKS_CLOSED || !links.comm) return;
    links.phase = LINKS_CLOSED;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SECONDS;
    if (pthread_create(&thread, NULL, abort_comm, links.comm)) return;
    if (pthread_timedjoin_np(thread, NULL, &until)) pthread_detach(thread);
}
