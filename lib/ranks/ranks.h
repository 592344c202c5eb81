/* ranks.h - several processes of one run: how many there are, and messages between them.
 *
 * A launcher (mpirun, srun) starts the processes, which are called ranks. A plug-in carries the
 * messages: ranks-mpi.so, which is built where Open MPI's mpicc is, and is opened only if a
 * launcher started several processes. A transport moves bytes and never adds numbers. A run of one
 * process has one rank, and all functions work there too.
 *
 * Every wait, except that of ranks_close, ends with an error if no message moves for the time of
 * ranks_set_timeout, because then another rank has not come. After such an error every exchange
 * fails, and the program must end the ranks with ranks_abort.
 */
#ifndef LONGQLORA_RANKS_RANKS_H
#define LONGQLORA_RANKS_RANKS_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that come from `peer`, or go to it. The caller gives each exchange of messages a ticket, a
 * number below RANKS_TICKETS (MPI calls it a tag). Messages between the same two ranks with the
 * same ticket arrive in the order in which they were sent. They lie in the host's memory, or in
 * that of `device`, which ranks.c passes on and does not look at; then ranks_move_device must be
 * true. */
struct ranks_message {
    int peer;
    void *at;
    size_t bytes;
    void *device;
};

/* Who this process is: its number among all ranks, from 0, and its number among the ranks of its
 * machine, from 0. */
struct ranks_place {
    int rank, count, local_rank, local_count;
};

enum { RANKS_VERSION = 3, RANKS_TICKETS = 3 };

/* What has moved of a ticket's messages: nothing since the last test, all of them, or a part of
 * them since the last test. */
enum ranks_moved { RANKS_NOTHING, RANKS_ALL, RANKS_SOME };

/* What a plug-in exports under the name ranks_transport. */
struct ranks_transport {
    int version;
    size_t
        size; /* sizeof (struct ranks_transport), by which a plug-in of another version is found */
    const char *name;
    int (*open)(struct ranks_place *place, struct fail *why);
    /* Begins to move messages. The memory must not be touched before test returns RANKS_ALL. */
    int (*begin)(int ticket, const struct ranks_message *in, int in_count,
                 const struct ranks_message *out, int out_count, struct fail *why);
    /* Returns what has moved (enum ranks_moved), or -1 on failure. Unless all messages have moved,
     * *peer is a rank whose message has not come, or that has not taken one. */
    int (*test)(int ticket, int *peer, struct fail *why);
    /* Ends all ranks with this status. */
    void (*abort)(int status);
    void (*close)(void);
};

/* Carries messages between the memories of the ranks' devices, as NCCL does between GPUs. No
 * function waits for another rank. */
enum { RANKS_NAME = 32, RANKS_ID = 128 };
struct ranks_device {
    /* Writes the transport's name and version, or says why this rank cannot use it. */
    int (*find)(char name[RANKS_NAME], struct fail *why);
    /* Makes, on rank 0, the id with which the ranks find each other. */
    int (*make_id)(char id[RANKS_ID], struct fail *why);
    int (*open)(const char id[RANKS_ID], int rank, int count, struct fail *why);
    /* As that of struct ranks_transport; only if ready has returned 1 since the last call. */
    int (*begin)(int ticket, const struct ranks_message *in, int in_count,
                 const struct ranks_message *out, int out_count, struct fail *why);
    /* ready: is the transport open, and has it taken over what was begun? test: have all messages
     * of the ticket moved? 1: yes. 0: not yet. test also returns 2: not yet, and this rank's own
     * device still computes what comes before. No other rank is late then. */
    int (*ready)(struct fail *why);
    int (*test)(int ticket, struct fail *why);
    /* Drops what has not moved. After a failure it may be called at any time. */
    void (*close)(void);
};

struct ranks;

/* Returns how many processes a launcher started, by the variables that launchers set; *name is the
 * variable. Returns 1, with *name NULL, if no launcher started several, and -1 if the variable is
 * no number. */
int64_t ranks_launched(const char **name);

/* Is this the first process of its launch, by the launchers' variables? True if none is set. */
bool ranks_is_first_launched(void);

/* Opens the ranks of this launch. If `alone`, or if there is no launcher, there is one rank. The
 * caller closes *r with ranks_close. If the call fails and *r is not NULL, other ranks may wait for
 * this one: the caller ends them with ranks_abort. */
int ranks_open(struct ranks **r, bool alone, struct fail *why) MUST_USE;
/* Waits for all ranks without a limit, so that none ends while another still needs it. */
void ranks_close(struct ranks *r);
/* Ends all ranks of the launch with this status; returns if there is one rank. */
void ranks_abort(struct ranks *r, int status);

const struct ranks_place *ranks_place(const struct ranks *r);
/* Returns the name of the machine of a rank. */
const char *ranks_host(const struct ranks *r, int rank);
void ranks_set_timeout(struct ranks *r, double seconds);
/* Says where the run is, for the message about a rank that does not come: "step 41, layer 12". */
void ranks_at(struct ranks *r, const char *format, ...) PRINTF_LIKE(2, 3);

/* Opens a transport for the memory of devices, if all ranks can use it: each has found it, in the
 * same version, and has a device of its own, by the text `own` that differs between the devices of
 * a machine. Otherwise messages of devices pass through the host's memory, which is no failure.
 * All ranks call it, once. If connects is false, it only finds out whether the transport could be
 * used. `d` is borrowed until ranks_close. */
int ranks_use_device(struct ranks *r, const struct ranks_device *d, const char *own, bool connects,
                     struct fail *why) MUST_USE;
/* May messages lie in the memory of a device? True also if the transport could be used. */
bool ranks_move_device(const struct ranks *r);
/* Returns how messages of devices move, and why: "by NCCL 2.27.3", "through the host's memory: no
 * NCCL on rank 1 on node7: …". "" before ranks_use_device, or if there is one rank. */
const char *ranks_way(const struct ranks *r);

/* ranks_begin begins to move messages, and ranks_wait waits until they have moved. Until then their
 * memory must not be touched. */
int ranks_begin(struct ranks *r, int ticket, const struct ranks_message *in, int in_count,
                const struct ranks_message *out, int out_count, struct fail *why) MUST_USE;
int ranks_wait(struct ranks *r, int ticket, struct fail *why) MUST_USE;
/* all [count][bytes] = what each rank has in `mine`, in the order of ranks (MPI_Allgather). */
int ranks_all_gather(struct ranks *r, void *all, const void *mine, size_t bytes,
                     struct fail *why) MUST_USE;
/* Copies rank 0's bytes to all ranks (MPI_Bcast). */
int ranks_broadcast(struct ranks *r, void *at, size_t bytes, struct fail *why) MUST_USE;
/* On a rank other than 0: ranks_broadcast that waits for rank 0 without a limit, because rank 0 may
 * have much to do before. */
int ranks_await_broadcast(struct ranks *r, void *at, size_t bytes, struct fail *why) MUST_USE;
/* Waits until all ranks have come here (MPI_Barrier). */
int ranks_barrier(struct ranks *r, struct fail *why) MUST_USE;

/* A text that must be equal on all ranks, and what it is: { "base", digest }. NULL is "". */
struct ranks_text {
    const char *what, *text;
};
/* Compares texts [count] with those of rank 0. Of a text longer than RANKS_TEXT, only the beginning
 * is compared. If a text differs, it fails (usage), and names this rank's machine, the first text
 * that differs, and its value on both ranks. All ranks call it with the same list of `what`. It
 * returns 0 only after all ranks have found their texts equal. */
enum { RANKS_TEXT = 1024 };
int ranks_agree(struct ranks *r, const struct ranks_text *texts, int count,
                struct fail *why) MUST_USE;
/* Sets *count to how many ranks of this machine gave the same text, this one among them. */
int ranks_count_same(struct ranks *r, const char *text, int *count, struct fail *why) MUST_USE;

#endif
