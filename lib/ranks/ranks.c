#include "lib/common/clock.h"
#include "lib/common/program.h"
#include "lib/common/signals.h"
#include "lib/ranks/ranks_internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- how many processes a launcher started ---- */

static const char *const size_names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
                                          "SLURM_STEP_NUM_TASKS", "WORLD_SIZE" };

int64_t ranks_launched(const char **name)
{
    for (size_t i = 0; i < sizeof size_names / sizeof *size_names; i++) {
        const char *size = getenv(size_names[i]);
        *name = size_names[i];
        if (!size || !*size) continue;
        char *end;
        errno = 0;
        long long count = strtoll(size, &end, 10);
        if (*end || errno || count < 0 || size[strspn(size, "0123456789")]) return -1;
        if (count > 1) return count;
    }
    *name = NULL;
    return 1;
}

bool ranks_is_first_launched(void)
{
    static const char *const names[] = { "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                         "SLURM_PROCID" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *rank = getenv(names[i]);
        if (rank && *rank) return !strcmp(rank, "0");
    }
    return true;
}

/* ---- opening ---- */

static int load_transport(const struct ranks_transport **transport, struct fail *why)
{
    static const char name[] = "ranks-mpi.so";
    char path[4096];
    if (!program_plugin(name, path)) return fail(why, "ranks: cannot tell where this program lies");
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        return fail_usage(why,
                          "no usable %s, which make builds where mpicc is (Debian: "
                          "libopenmpi-dev): %s",
                          name, dlerror());
    const struct ranks_transport *found = dlsym(plugin, "ranks_transport");
    if (!found || found->version != RANKS_VERSION || found->size != sizeof *found)
        return fail_usage(why, "%s is of another version: build or install both anew", path);
    *transport = found;
    return 0;
}

static int gather_hosts(struct ranks *r, struct fail *why)
{
    char own[HOST_NAME] = "?";
    if (gethostname(own, sizeof own - 1)) snprintf(own, sizeof own, "?");
    return ranks_all_gather(r, r->hosts, own, HOST_NAME, why);
}

/* Without Slurm's plug-in for PMIx, Open MPI would end the program with a page of text. */
static int check_slurm(const char *name, struct fail *why)
{
    if (strcmp(name, "SLURM_STEP_NUM_TASKS") != 0 || getenv("PMIX_RANK")) return 0;
    return fail_usage(why, "srun needs --mpi=pmix to start ranks; --ranks 1 says that each process "
                           "is a run of its own");
}

/* UCX, which Open MPI 5 loads, replaces the handler of SIGBUS by one that ends the program. So the
 * program's own handler is put back. */
static int start_transport(struct ranks *r, struct fail *why)
{
    int status = load_transport(&r->transport, why) ? -1 : r->transport->open(&r->place, why);
    signals_restore_bus();
    return status;
}

static int open_transport(struct ranks *r, const char *name, int64_t launched, struct fail *why)
{
    char place[64];
    int status = check_slurm(name, why) ? -1 : start_transport(r, why);
    if (!status && r->place.count != launched)
        status = fail_usage(why,
                            "MPI knows of %d: srun needs --mpi=pmix, and mpirun must be that of "
                            "ranks-mpi.so's MPI; --ranks 1 says that each process is a run of its "
                            "own",
                            r->place.count);
    snprintf(place, sizeof place, "%s=%lld", name, (long long)launched);
    return status ? fail_in(why, place) : 0;
}

int ranks_open(struct ranks **out, bool alone, struct fail *why)
{
    const char *name;
    int64_t launched = alone ? 1 : ranks_launched(&name);
    *out = NULL;
    struct ranks *r = calloc(1, sizeof *r);
    if (!r) return fail(why, "out of memory");
    r->place = (struct ranks_place){ 0, 1, 0, 1 };
    r->timeout = 600;
    if (launched > 1 && open_transport(r, name, launched, why)) {
        free(r);
        return -1;
    }
    *out = r; /* also if the rest fails, so that the caller can end the other ranks */
    r->hosts = calloc((size_t)r->place.count, sizeof *r->hosts);
    return r->hosts ? gather_hosts(r, why) : fail(why, "out of memory");
}

void ranks_close(struct ranks *r)
{
    if (!r) return;
    ranks_device_close(r);
    if (r->transport) r->transport->close();
    free(r->hosts);
    free(r);
}

void ranks_abort(struct ranks *r, int status)
{
    if (r && r->transport) r->transport->abort(status);
}

const struct ranks_place *ranks_place(const struct ranks *r) { return &r->place; }
const char *ranks_host(const struct ranks *r, int rank) { return r->hosts[rank]; }
void ranks_set_timeout(struct ranks *r, double seconds) { r->timeout = seconds; }

void ranks_at(struct ranks *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->where, sizeof r->where, format, args);
    va_end(args);
}

/* ---- messages ---- */

static int repeat_failure(const struct ranks *r, struct fail *why)
{
    *why = r->failure;
    return -1;
}

int ranks_keep_failure(struct ranks *r, const struct fail *why)
{
    if (!r->has_failed) r->failure = *why;
    r->has_failed = true;
    if (r->device) r->device->close();
    return -1;
}

static bool has_device(const struct ranks_message *list, int count)
{
    for (int i = 0; i < count; i++)
        if (list[i].device) return true;
    return false;
}

int ranks_begin(struct ranks *r, int ticket, const struct ranks_message *in, int in_count,
                const struct ranks_message *out, int out_count, struct fail *why)
{
    must(ticket >= 0 && ticket < RANKS_TICKETS);
    if (r->has_failed) return repeat_failure(r, why);
    must(r->transport || (!in_count && !out_count));
    if (!r->transport) return 0;
    if (has_device(in, in_count) || has_device(out, out_count))
        return ranks_device_begin(r, ticket, in, in_count, out, out_count, why);
    return r->transport->begin(ticket, in, in_count, out, out_count, why);
}

/* Pauses between two tests, after `idle` seconds in which nothing has moved. For the first 2 ms it
 * only lets other threads run: a sleep of 10 µs takes 60, and a test moves some 100 kB between
 * processes of one machine. Then it sleeps, because ranks may share a CPU. */
static void pause_after(double idle)
{
    const double awake = 2e-3, max_pause = 5e-4;
    double seconds = idle / 20 < max_pause ? idle / 20 : max_pause;
    struct timespec t = { 0, (long)(1e9 * seconds) };
    if (idle < awake)
        sched_yield();
    else
        nanosleep(&t, NULL);
}

/* Returns what the transport of the devices has moved of what is awaited. */
static int test_device(const struct ranks *r, int ticket, enum ranks_awaited what, struct fail *why)
{
    if (what == RANKS_HOST) return RANKS_ALL;
    int done = what == RANKS_DEVICE_READY ? r->device->ready(why) : r->device->test(ticket, why);
    return done == 1 ? RANKS_ALL : done == 2 ? RANKS_SOME : done < 0 ? -1 : RANKS_NOTHING;
}

/* `host` is what has moved in the host's memory. If all has, all ranks have come. */
static int fail_late(const struct ranks *r, int peer, int host, struct fail *why)
{
    const char *where = *r->where ? r->where : "its start";
    if (host == RANKS_ALL)
        return fail(why, "%s: all ranks have come, but their messages have not moved %s after %g s",
                    where, r->way, r->timeout);
    return fail(why, "rank %d on %s has not reached %s after %g s", peer,
                r->hosts[peer][0] ? r->hosts[peer] : "?", where, r->timeout);
}

/* Rank 0 reports a rank that does not come. The other ranks wait two seconds longer, and report it
 * only if rank 0 has not, for example because rank 0 is the one that does not come. */
int ranks_wait_for(struct ranks *r, int ticket, enum ranks_awaited what, struct fail *why)
{
    int peer = 0;
    double since = clock_seconds(), limit = r->timeout + (r->place.rank ? 2 : 0);
    while (true) {
        int host = r->transport->test(ticket, &peer, why);
        if (host == RANKS_ALL && ranks_device_check(r, ticket, why)) host = -1;
        int on_device = host < 0 ? -1 : test_device(r, ticket, what, why);
        if (on_device < 0) return -1;
        if (on_device == RANKS_ALL && (host == RANKS_ALL || what == RANKS_DEVICE_READY)) return 0;
        double at = clock_seconds();
        if (host == RANKS_SOME || on_device == RANKS_SOME) since = at;
        if (at - since > limit) return fail_late(r, peer, host, why);
        pause_after(at - since);
    }
}

int ranks_wait(struct ranks *r, int ticket, struct fail *why)
{
    bool has_device = r->exchange[ticket].is_under_way;
    if (!r->transport) return 0;
    if (r->has_failed) return repeat_failure(r, why);
    if (ranks_wait_for(r, ticket, has_device ? RANKS_DEVICE_MOVED : RANKS_HOST, why))
        return ranks_keep_failure(r, why);
    r->exchange[ticket].is_under_way = false;
    return 0;
}

int ranks_all_gather(struct ranks *r, void *all, const void *mine, size_t bytes, struct fail *why)
{
    int count = r->place.count, n = 0;
    struct ranks_message *in = calloc((size_t)count * 2, sizeof *in), *out;
    if (!in) return fail(why, "out of memory");
    out = in + count;
    memcpy((char *)all + (size_t)r->place.rank * bytes, mine, bytes);
    for (int peer = 0; peer < count; peer++) {
        if (peer == r->place.rank) continue;
        in[n] = (struct ranks_message){ peer, (char *)all + (size_t)peer * bytes, bytes, NULL };
        out[n++] = (struct ranks_message){ peer, (void *)(uintptr_t)mine, bytes, NULL };
    }
    int status = ranks_begin(r, RANKS_TICKETS - 1, in, n, out, n, why);
    free(in);
    return status ? -1 : ranks_wait(r, RANKS_TICKETS - 1, why);
}

int ranks_broadcast(struct ranks *r, void *at, size_t bytes, struct fail *why)
{
    int count = r->place.count, n = 0;
    struct ranks_message *messages = calloc((size_t)count, sizeof *messages);
    if (!messages) return fail(why, "out of memory");
    if (r->place.rank) messages[n++] = (struct ranks_message){ 0, at, bytes, NULL };
    for (int peer = 1; peer < count && !r->place.rank; peer++)
        messages[n++] = (struct ranks_message){ peer, at, bytes, NULL };
    int is_first = !r->place.rank;
    int status = ranks_begin(r, RANKS_TICKETS - 1, messages, is_first ? 0 : n, messages,
                             is_first ? n : 0, why);
    free(messages);
    return status ? -1 : ranks_wait(r, RANKS_TICKETS - 1, why);
}

int ranks_await_broadcast(struct ranks *r, void *at, size_t bytes, struct fail *why)
{
    double timeout = r->timeout;
    r->timeout = INFINITY;
    int status = ranks_broadcast(r, at, bytes, why);
    r->timeout = timeout;
    return status;
}

int ranks_barrier(struct ranks *r, struct fail *why)
{
    /* A run of one process does not fail at its very end because memory has run out. */
    if (r->place.count == 1) return 0;
    char mine = 0, *all = calloc((size_t)r->place.count, sizeof *all);
    if (!all) return fail(why, "out of memory");
    int status = ranks_all_gather(r, all, &mine, sizeof mine, why);
    free(all);
    return status;
}

/* ---- what must be equal ---- */

static int compare(const struct ranks *r, const struct ranks_text *texts, int count,
                   char (*own)[RANKS_TEXT], char (*first)[RANKS_TEXT], struct fail *why)
{
    for (int i = 0; i < count; i++)
        if (strcmp(own[i], first[i]) != 0)
            return fail_usage(why, "on %s: another %s than rank 0: %s there, %s here",
                              r->hosts[r->place.rank], texts[i].what, *first[i] ? first[i] : "none",
                              *own[i] ? own[i] : "none");
    return 0;
}

int ranks_agree(struct ranks *r, const struct ranks_text *texts, int count, struct fail *why)
{
    if (r->place.count == 1) return 0;
    char(*own)[RANKS_TEXT] = calloc((size_t)count * 2, sizeof *own), (*first)[RANKS_TEXT];
    if (!own) return fail(why, "out of memory");
    first = own + count;
    for (int i = 0; i < count; i++)
        snprintf(own[i], sizeof own[i], "%s", texts[i].text ? texts[i].text : "");
    memcpy(first, own, (size_t)count * sizeof *own);
    int status = ranks_broadcast(r, first, (size_t)count * sizeof *own, why);
    if (!status) status = compare(r, texts, count, own, first, why);
    free(own);
    return status ? -1 : ranks_barrier(r, why);
}

int ranks_count_same(struct ranks *r, const char *text, int *count, struct fail *why)
{
    char own[HOST_NAME] = "", (*all)[HOST_NAME] = calloc((size_t)r->place.count, sizeof *all);
    *count = 0;
    if (!all) return fail(why, "out of memory");
    snprintf(own, sizeof own, "%s", text);
    int status = ranks_all_gather(r, all, own, sizeof own, why);
    for (int i = 0; i < r->place.count && !status; i++)
        *count += !strcmp(all[i], own) && !strcmp(r->hosts[i], r->hosts[r->place.rank]);
    free(all);
    return status;
}
