#include "model/device_messages.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)RANKS_NAME == (int)MESSAGES_NAME && (int)RANKS_ID == (int)MESSAGES_ID &&
                   (int)RANKS_TICKETS <= (int)MESSAGES_TICKETS,
               "a backend's messages can be those of ranks");

static const struct kernels *backend; /* whose transport the ranks have */
static bool is_refused;               /* by LONGQLORA_NCCL=0 */

static int find(char name[RANKS_NAME], struct fail *why)
{
    *name = 0;
    if (is_refused) return fail(why, "LONGQLORA_NCCL=0");
    return backend->probe(why) ? -1 : backend->messages_find(name, why);
}

static int begin(int ticket, const struct ranks_message *in, int in_count,
                 const struct ranks_message *out, int out_count, struct fail *why)
{
    int count = in_count + out_count;
    struct device_message *list = calloc((size_t)count + 1, sizeof *list);
    struct device *dev = in_count ? in->device : out->device;
    if (!list) return fail(why, "out of memory");
    for (int i = 0; i < count; i++) {
        const struct ranks_message *m = i < in_count ? &in[i] : &out[i - in_count];
        list[i] = (struct device_message){ m->peer, i < in_count, m->at, m->bytes };
        must(m->device == dev);
    }
    int status = backend->messages_begin(dev, ticket, list, count, why);
    free(list);
    return status;
}

int device_messages_open(struct ranks *r, const struct kernels *k, bool connects, struct fail *why)
{
    static struct ranks_device transport;
    const char *asked = getenv("LONGQLORA_NCCL");
    struct device_facts facts;
    if (ranks_place(r)->count == 1 || backend) return 0;
    if (asked && *asked && strcmp(asked, "0") != 0)
        return fail_usage(why, "LONGQLORA_NCCL=%s: only 0 has a meaning, no NCCL", asked);
    backend = k;
    is_refused = asked && *asked;
    transport = (struct ranks_device){
        .find = find,
        .make_id = k->messages_id,
        .open = k->messages_open,
        .begin = begin,
        .ready = k->messages_ready,
        .test = k->messages_test,
        .close = k->messages_close,
    };
    k->describe(&facts);
    if (!ranks_use_device(r, &transport, facts.own, connects, why)) return 0;
    return ranks_move_device(r) ? fail_in(why, "NCCL (LONGQLORA_NCCL=0 does without it)") : -1;
}

bool device_messages_are_used(const struct ranks *r, const struct kernels *k)
{
    return backend == k && ranks_move_device(r);
}

const char *device_messages_way(const struct ranks *r)
{
    return backend && !backend->is_host ? ranks_way(r) : "";
}
