/* arena.h - one block of memory, reserved whole, handed out in order.
 *
 * Reserving may fail; taking within the reservation cannot. So memory runs out
 * before the work begins or never. Blocks are zeroed, start on 64-byte lines and
 * ask the kernel for huge pages (fresh 4 KiB pages cost a fault each).
 */
#ifndef LONGQLORA_ARENA_H
#define LONGQLORA_ARENA_H

#include "fail.h"

#include <stddef.h>

struct arena {
    char *start;
    size_t used, size;
};

int arena_reserve(struct arena *arena, size_t bytes, struct fail *why) MUST_USE;
void *arena_take(struct arena *arena, size_t bytes); /* aborts beyond the reservation */
void arena_release(struct arena *arena);

/* What arena_take really uses for so many bytes. */
size_t arena_rounded(size_t bytes);

#endif
