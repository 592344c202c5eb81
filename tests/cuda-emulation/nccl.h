/* nccl.h - between the emulation of CUDA and that of NCCL (nccl.c), which is a library of its own.
 */
#ifndef LONGQLORA_EMULATED_NCCL_H
#define LONGQLORA_EMULATED_NCCL_H

#include <stddef.h>
#include <stdint.h>

/* What nccl.c needs of the memory of an emulated GPU. */
struct emulated_memory {
    void (*load)(void *to, const void *from, size_t bytes);  /* from the GPU */
    void (*store)(void *to, const void *from, size_t bytes); /* to the GPU */
    /* A group of messages was queued. `to` [bytes] is where a message will arrive, or NULL. */
    void (*begin)(void *to, size_t bytes);
};

/* What CUDA's emulation needs of nccl.c. A group is begun when it is on the stream. */
struct emulated_nccl {
    uint64_t groups_begun, groups_moved;
    void (*move)(void);
};

/* nccl.c exports it under this name. */
typedef struct emulated_nccl *emulated_nccl_function(const struct emulated_memory *memory);

#endif
