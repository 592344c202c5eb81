#include "arena.h"

#include <sys/mman.h>

enum { LINE = 64 };

size_t arena_rounded(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

int arena_reserve(struct arena *arena, size_t bytes, struct fail *why)
{
    *arena = (struct arena){ 0 };
    if (!bytes) return 0;
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return fail(why, "out of memory: %zu bytes asked", bytes);
#ifdef MADV_HUGEPAGE
    madvise(start, bytes, MADV_HUGEPAGE);
#endif
    *arena = (struct arena){ .start = start, .size = bytes };
    return 0;
}

void *arena_take(struct arena *arena, size_t bytes)
{
    size_t rounded = arena_rounded(bytes);
    must(rounded >= bytes && rounded <= arena->size - arena->used);
    char *at = arena->start + arena->used;
    arena->used += rounded;
    return at;
}

void arena_release(struct arena *arena)
{
    if (arena->start) munmap(arena->start, arena->size);
    *arena = (struct arena){ 0 };
}
