/* memory_plan.h - how many bytes a model needs for each purpose, and whether they are free.
 */
#ifndef LONGQLORA_MODEL_MEMORY_PLAN_H
#define LONGQLORA_MODEL_MEMORY_PLAN_H

#include "kernels/kernels.h"
#include "lib/llama/weights.h"
#include "lib/ranks/ranks.h"

/* What memory is for. */
enum memory {
    MEMORY_WEIGHTS,         /* frozen weights */
    MEMORY_PARAMETERS,      /* trained values, f32 */
    MEMORY_GRADIENTS,       /* the sum of an update's gradients, f32 */
    MEMORY_BATCH_GRADIENTS, /* gradients of one batch or block, and those that ranks exchange */
    MEMORY_MOMENTS,         /* AdamW's two moments, f32 */
    MEMORY_CACHE,           /* the KV cache */
    MEMORY_CHECKPOINTS,     /* the layers' inputs, from which the backward recomputes a layer */
    MEMORY_ACTIVATIONS,     /* activations and gradients of all rows of a layer */
    MEMORY_CHUNK,           /* buffers of one chunk of rows */
    MEMORY_INPUTS,          /* token ids, positions, starts, RoPE tables, losses and logits */
    MEMORY_SCRATCH,         /* what the backend's operations reserve */
    MEMORY_COUNT
};

struct memory_plan {
    size_t bytes[MEMORY_COUNT]; /* in the device's memory */
    size_t host[MEMORY_COUNT];  /* in the host's pinned memory, which the device reads */
    /* on a CPU: bytes of weights in mapped files, whose pages the system can drop and read again */
    size_t mapped;
    /* bytes that the ranks of a sample send each other for attention of one layer, in forward and
     * backward of the longest sample */
    uint64_t of_attention;
    uint64_t sent; /* bytes that the ranks of a run send each other in an update, all together */
};
size_t memory_total(const struct memory_plan *plan);
size_t memory_host_total(const struct memory_plan *plan);
/* Writes one line for each purpose that needs memory, and the totals, in bytes and in MiB or
 * GiB. */
enum { MEMORY_TABLE = 4096 };
void memory_table(const struct memory_plan *plan, char text[MEMORY_TABLE]);

/* Free bytes of the device and of the host; 0: unknown. */
struct memory_limits {
    uint64_t device, host;
};
/* Counts the ranks that use the same device as this one, and the same machine. From then on
 * memory_limits_of returns one rank's share. All ranks call it. */
int memory_share_with(struct ranks *r, const struct kernels *k, struct fail *why) MUST_USE;
/* Returns one rank's share of the mapped weights, which lie in the machine's memory once. */
uint64_t memory_mapped_share(const struct memory_plan *plan);
/* Returns the free memory. Weights that were already copied to the CPU's memory are added, because
 * the plan counts them as well. */
struct memory_limits memory_limits_of(const struct kernels *k, const struct weights *w);
/* Is there enough free memory for the plan? Mapped files are not counted, because the system can
 * drop their pages. */
bool memory_fits(const struct memory_plan *plan, const struct kernels *k,
                 struct memory_limits limits);
/* Writes what is needed and what is free: "9.85 GB of 84.21 GB that are free, on the host 1.28 GB
 * of 120.50 GB". */
void memory_describe(const struct memory_plan *plan, const struct kernels *k,
                     struct memory_limits limits, char *text, size_t size);
/* Writes what does not fit, for an error message: "30.20 GB of memory, 20.10 GB are free". */
void memory_describe_lack(const struct memory_plan *plan, const struct kernels *k,
                          struct memory_limits limits, char *text, size_t size);

#endif
