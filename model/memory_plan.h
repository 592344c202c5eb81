/* memory_plan.h - what a model's memory is used for, and whether there is as much.
 */
#ifndef LONGQLORA_MODEL_MEMORY_PLAN_H
#define LONGQLORA_MODEL_MEMORY_PLAN_H

#include "kernels/kernels.h"
#include "lib/llama/weights.h"

enum memory {
    MEMORY_WEIGHTS,
    MEMORY_PARAMETERS,
    MEMORY_GRADIENTS,
    MEMORY_MOMENTS,
    MEMORY_CACHE,
    MEMORY_CHECKPOINTS,
    MEMORY_ACTIVATIONS,
    MEMORY_CHUNK,
    MEMORY_INPUTS,
    MEMORY_SCRATCH,
    MEMORY_COUNT
};

struct memory_plan {
    size_t bytes[MEMORY_COUNT]; /* of the device */
    size_t host[MEMORY_COUNT];  /* of the host, that the device reaches */
    size_t mapped;              /* of the weights, on a host: files that can be read again */
};
const char *memory_name(enum memory memory);
size_t memory_total(const struct memory_plan *plan);
size_t memory_host_total(const struct memory_plan *plan);
/* A line for each use that takes some, and the totals, in bytes and in GiB, or MiB where they are
 * fewer. */
enum { MEMORY_TABLE = 4096 };
void memory_table(const struct memory_plan *plan, char text[MEMORY_TABLE]);

/* Free bytes; 0: not known. */
struct memory_room {
    uint64_t device, host;
};
/* Weights that are in the device's memory already count as free: they stand in a plan. */
struct memory_room memory_room_of(const struct kernels *k, const struct weights *w);
/* Mapped files need not stay in memory. */
bool memory_fits(const struct memory_plan *plan, const struct kernels *k, struct memory_room room);
/* "9.85 GB of 84.21 GB that are free, 1.28 GB of the host's 120.50 GB" */
void memory_describe(const struct memory_plan *plan, const struct kernels *k,
                     struct memory_room room, char *text, size_t size);
/* What does not fit, for an error: "30.20 GB of memory, 20.10 GB are free" */
void memory_describe_lack(const struct memory_plan *plan, const struct kernels *k,
                          struct memory_room room, char *text, size_t size);

#endif
