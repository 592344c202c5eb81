/* Messages in the memory of devices: whether the ranks can use a transport for it, and what they
 * send each other by both transports in an exchange. */
#include "lib/common/buffer.h"
#include "lib/ranks/ranks_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ranks_move_device(const struct ranks *r) { return r->moves_device; }
const char *ranks_way(const struct ranks *r) { return r->way; }

/* ---- opening ---- */

/* What a rank has to offer. lack: why it cannot use the transport; "": it can. */
struct offer {
    char name[RANKS_NAME], lack[200], own[HOST_NAME];
};

/* Decides by the offers of all ranks, so that each decides the same. Returns whether the transport
 * can be used, and writes the way of the messages. */
static bool decide(struct ranks *r, const struct offer *all)
{
    static const char host[] = "through the host's memory:";
    int count = r->place.count;
    for (int i = 0; i < count; i++) {
        if (!*all[i].lack) continue;
        snprintf(r->way, sizeof r->way, "%s on rank %d on %s: %s", host, i, r->hosts[i],
                 all[i].lack);
        return false;
    }
    for (int i = 1; i < count; i++) {
        if (!strcmp(all[i].name, all[0].name)) continue;
        snprintf(r->way, sizeof r->way, "%s rank %d on %s has %s, and rank 0 has %s", host, i,
                 r->hosts[i], all[i].name, all[0].name);
        return false;
    }
    for (int i = 1; i < count; i++)
        for (int j = 0; j < i; j++) {
            if (strcmp(all[i].own, all[j].own) != 0 || strcmp(r->hosts[i], r->hosts[j]) != 0)
                continue;
            snprintf(r->way, sizeof r->way, "%s ranks %d and %d on %s use the same device", host, j,
                     i, r->hosts[i]);
            return false;
        }
    snprintf(r->way, sizeof r->way, "by %s", all[0].name);
    return true;
}

static int gather_offers(struct ranks *r, const struct ranks_device *d, const char *own,
                         bool *can_use, struct fail *why)
{
    struct offer mine = { .name = "" }, *all = calloc((size_t)r->place.count, sizeof *all);
    struct fail lack = { .status = STATUS_FAILED };
    if (!all) return fail(why, "out of memory");
    if (d->find(mine.name, &lack)) fail_fit(mine.lack, sizeof mine.lack, lack.text);
    snprintf(mine.own, sizeof mine.own, "%s", own);
    int status = ranks_all_gather(r, all, &mine, sizeof mine, why);
    if (!status) *can_use = decide(r, all);
    free(all);
    return status;
}

/* Rank 0's id of the transport, or why it could not make one. lack: "" if it could. */
struct id_or_lack {
    char id[RANKS_ID], lack[200];
};

static int alloc_exchanges(struct ranks *r, struct fail *why)
{
    size_t count = (size_t)r->place.count;
    r->numbers = calloc(count, sizeof *r->numbers);
    struct note *notes = calloc(3 * RANKS_TICKETS * count, sizeof *notes);
    if (!r->numbers || !notes) {
        free(notes);
        return fail(why, "out of memory");
    }
    for (int i = 0; i < RANKS_TICKETS; i++, notes += 3 * count) {
        r->exchange[i].mine = notes;
        r->exchange[i].theirs = notes + count;
        r->exchange[i].expected = notes + 2 * count;
    }
    return 0;
}

/* Opens the transport. Each rank tells the others that it has come so far, so that one that does
 * not come is named. */
static int connect_all(struct ranks *r, const struct ranks_device *d, const char *id,
                       struct fail *why)
{
    enum { TICKET = RANKS_TICKETS - 1 };
    struct ranks_message *list;
    int count = r->place.count, n = 0;
    char here = 0;
    if (alloc_exchanges(r, why) ||
        buffer_reserve(&r->list, &r->list_capacity, 0, 2 * (size_t)count, why))
        return -1;
    r->device = d;
    list = r->list;
    for (int peer = 0; peer < count; peer++) {
        if (peer == r->place.rank) continue;
        char *from = (char *)&r->exchange[TICKET].theirs[peer];
        list[n] = (struct ranks_message){ peer, from, 1, NULL };
        list[count + n++] = (struct ranks_message){ peer, &here, 1, NULL };
    }
    if (d->open(id, r->place.rank, count, why) ||
        r->transport->begin(TICKET, list, n, list + count, n, why))
        return -1;
    r->last_ticket = TICKET;
    return ranks_wait_for(r, TICKET, RANKS_HOST, why) ||
                   ranks_wait_for(r, TICKET, RANKS_DEVICE_READY, why)
               ? -1
               : 0;
}

int ranks_use_device(struct ranks *r, const struct ranks_device *d, const char *own, bool connects,
                     struct fail *why)
{
    struct id_or_lack made = { .id = "" };
    struct fail lack = { .status = STATUS_FAILED };
    bool can_use = false;
    if (r->place.count == 1 || *r->way) return 0;
    if (gather_offers(r, d, own, &can_use, why)) return -1;
    r->moves_device = can_use && !connects;
    if (!can_use || !connects) return 0;
    if (!r->place.rank && d->make_id(made.id, &lack))
        fail_fit(made.lack, sizeof made.lack, lack.text);
    if (ranks_broadcast(r, &made, sizeof made, why)) return -1;
    r->moves_device = !*made.lack;
    if (!*made.lack) return connect_all(r, d, made.id, why) ? ranks_keep_failure(r, why) : 0;
    snprintf(r->way, sizeof r->way, "through the host's memory: on rank 0 on %s: %s", r->hosts[0],
             made.lack);
    return 0;
}

void ranks_device_close(struct ranks *r)
{
    if (r->device) r->device->close();
    r->device = NULL;
    free(r->exchange[0].mine); /* that of all */
    free(r->numbers);
    free(r->list);
}

/* ---- exchanges ---- */

/* Appends those messages that are in the host's memory, or those that are in a device's. */
static int append(struct ranks_message *to, int n, const struct ranks_message *from, int count,
                  bool of_device)
{
    for (int i = 0; i < count; i++)
        if (!from[i].device != of_device) to[n++] = from[i];
    return n;
}

/* Sums up what goes to each peer and what comes from it. */
static void count_bytes(struct ranks *r, struct device_exchange *e, const struct ranks_message *in,
                        int in_count, const struct ranks_message *out, int out_count)
{
    size_t size = (size_t)r->place.count * sizeof *e->mine;
    memset(e->mine, 0, 3 * size);
    for (int i = 0; i < in_count; i++)
        if (in[i].device) e->expected[in[i].peer].bytes += in[i].bytes;
    for (int i = 0; i < out_count; i++)
        if (out[i].device) e->mine[out[i].peer].bytes += out[i].bytes;
    for (int peer = 0; peer < r->place.count; peer++)
        if (e->mine[peer].bytes || e->expected[peer].bytes)
            e->mine[peer].number = e->expected[peer].number = ++r->numbers[peer];
}

static int begin(struct ranks *r, int ticket, const struct ranks_message *in, int in_count,
                 const struct ranks_message *out, int out_count, struct fail *why)
{
    struct device_exchange *e = &r->exchange[ticket];
    int count = r->place.count, n_in, n_out;
    size_t capacity = (size_t)(in_count + out_count + 2 * count);
    /* A rank that did not come to the exchange before is named by the notes of that one. */
    if (ranks_wait_for(r, r->last_ticket, RANKS_DEVICE_READY, why) ||
        buffer_reserve(&r->list, &r->list_capacity, 0, capacity, why))
        return -1;
    struct ranks_message *host_in = r->list, *host_out = r->list + in_count + count;
    count_bytes(r, e, in, in_count, out, out_count);
    n_in = append(host_in, 0, in, in_count, false);
    n_out = append(host_out, 0, out, out_count, false);
    for (int peer = 0; peer < count; peer++) {
        if (!e->mine[peer].number) continue;
        host_in[n_in++] = (struct ranks_message){ peer, &e->theirs[peer], sizeof *e->theirs, NULL };
        host_out[n_out++] = (struct ranks_message){ peer, &e->mine[peer], sizeof *e->mine, NULL };
    }
    if (r->transport->begin(ticket, host_in, n_in, host_out, n_out, why)) return -1;
    e->is_under_way = true;
    e->is_checked = false;
    r->last_ticket = ticket;
    n_in = append(host_in, 0, in, in_count, true);
    n_out = append(host_out, 0, out, out_count, true);
    return r->device->begin(ticket, host_in, n_in, host_out, n_out, why);
}

int ranks_device_begin(struct ranks *r, int ticket, const struct ranks_message *in, int in_count,
                       const struct ranks_message *out, int out_count, struct fail *why)
{
    must(r->device && !r->exchange[ticket].is_under_way);
    return begin(r, ticket, in, in_count, out, out_count, why) ? ranks_keep_failure(r, why) : 0;
}

int ranks_device_check(struct ranks *r, int ticket, struct fail *why)
{
    struct device_exchange *e = &r->exchange[ticket];
    if (!e->is_under_way || e->is_checked) return 0;
    e->is_checked = true;
    for (int peer = 0; peer < r->place.count; peer++)
        if (memcmp(&e->theirs[peer], &e->expected[peer], sizeof *e->theirs) != 0)
            return fail(why,
                        "ranks: rank %d on %s is not where this rank is: it sends %llu bytes in "
                        "exchange %llu, not %llu in exchange %llu",
                        peer, r->hosts[peer], (unsigned long long)e->theirs[peer].bytes,
                        (unsigned long long)e->theirs[peer].number,
                        (unsigned long long)e->expected[peer].bytes,
                        (unsigned long long)e->expected[peer].number);
    return 0;
}
