/* free_memory.h - how much of the host's memory a process may still take. */
#ifndef LONGQLORA_FREE_MEMORY_H
#define LONGQLORA_FREE_MEMORY_H

#include <stdint.h>

/* Bytes: what the kernel says is available, or less where a control group (a container, a batch
 * system's job) or one above it leaves less; caches of files count as free. 0: not known. root is
 * prepended to /proc and /sys; "" but in tests. */
uint64_t free_memory(const char *root);

#endif
