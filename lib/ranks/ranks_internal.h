/* ranks_internal.h - what ranks.c and ranks_device.c share.
 *
 * If an exchange has messages in the memory of devices, the ranks also send each other a note by
 * the host's transport: one for each peer and exchange. By it a rank that waits knows which rank
 * has not come, and that both mean the same exchange and the same number of bytes, which the
 * transport of the devices does not compare.
 */
#ifndef LONGQLORA_RANKS_RANKS_INTERNAL_H
#define LONGQLORA_RANKS_RANKS_INTERNAL_H

#include "lib/ranks/ranks.h"

enum { HOST_NAME = 64 };

/* What a rank says to a peer about their exchange: its number among the exchanges between the two,
 * from 1, and how many bytes the rank sends in it. */
struct note {
    uint64_t number, bytes;
};

/* The exchange of a ticket, as far as it concerns the memory of devices. */
struct device_exchange {
    bool is_under_way, is_checked;
    struct note *mine, *theirs, *expected; /* [count] each; expected: what theirs must be */
};

struct ranks {
    const struct ranks_transport *transport; /* NULL: one rank */
    struct ranks_place place;
    char (*hosts)[HOST_NAME]; /* [count] */
    double timeout;
    /* After an exchange has failed, the ranks no longer agree where they are, and all later
     * exchanges fail in the same way. */
    bool has_failed;
    struct fail failure;
    char where[96];

    const struct ranks_device *device; /* NULL: it is not open */
    bool moves_device;                 /* it is open, or would be if this was not only a plan */
    char way[320];
    struct device_exchange exchange[RANKS_TICKETS];
    int last_ticket;   /* that of the last exchange with messages of devices */
    uint64_t *numbers; /* [count] exchanges so far with each peer */
    /* the messages of an exchange: in the host's memory, and in that of devices */
    struct ranks_message *list;
    size_t list_capacity;
};

/* What a rank waits for: only messages in the host's memory, or also that the transport of the
 * devices has taken the last exchange over, or also that it has moved the ticket's. */
enum ranks_awaited { RANKS_HOST, RANKS_DEVICE_READY, RANKS_DEVICE_MOVED };

/* Waits for a ticket's messages, as ranks_wait does. RANKS_DEVICE_READY does not wait for the
 * ticket's messages on the host, but names a rank that did not send its own. */
int ranks_wait_for(struct ranks *r, int ticket, enum ranks_awaited what, struct fail *why) MUST_USE;
/* Keeps the first failure of an exchange and returns -1. */
int ranks_keep_failure(struct ranks *r, const struct fail *why);

/* ranks_begin, if a message is in the memory of a device. */
int ranks_device_begin(struct ranks *r, int ticket, const struct ranks_message *in, int in_count,
                       const struct ranks_message *out, int out_count, struct fail *why) MUST_USE;
/* Compares the notes of an exchange, once they have come. */
int ranks_device_check(struct ranks *r, int ticket, struct fail *why) MUST_USE;
void ranks_device_close(struct ranks *r);

#endif
