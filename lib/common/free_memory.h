/* free_memory.h - how much more of the host's memory this process may use. */
#ifndef LONGQLORA_FREE_MEMORY_H
#define LONGQLORA_FREE_MEMORY_H

#include <stdint.h>

/* Returns a number of bytes: the kernel's estimate of available memory, or less if a control group
 * (of a container or a batch job) leaves less. File caches count as free. Returns 0 if it is
 * unknown. `root` is put before /proc and /sys; it is "" except in tests. */
uint64_t free_memory(const char *root);

#endif
