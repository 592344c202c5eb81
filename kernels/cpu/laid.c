/* Operands laid out once for many products: see cpu.h. */
#include "cpu.h"

bool laid_usable(void) { return amx_usable(); }

size_t laid_elements(int64_t strips, int64_t depth)
{
    return (size_t)(pieces(strips, STRIP) * STRIP * pieces(depth, DEPTH) * DEPTH);
}

struct laid laid_block(const struct laid *m, int64_t block)
{
    int64_t from = block * LAID_DEPTH;
    return (struct laid){ m->at + pieces(m->strips, STRIP) * STRIP * from, m->strips,
                          least(LAID_DEPTH, m->depth - from) };
}

/* Where the strip's tiles of that block of k begin, and how many they are. */
static bf16 *tiles_at(const struct laid *m, int64_t strip, int64_t block, int64_t *tiles)
{
    struct laid part = laid_block(m, block);
    *tiles = pieces(part.depth, DEPTH);
    return part.at + strip * *tiles * DEPTH;
}

void lay_out(const struct laid *to, struct laid_part part, struct source from, bool is_b)
{
    must(part.strip % STRIP == 0 && part.k % DEPTH == 0);
    for (int64_t k = part.k, end = part.k + part.depth, next; k < end; k = next) {
        int64_t block = k / LAID_DEPTH, tiles;
        next = least(end, (block + 1) * LAID_DEPTH);
        bf16 *at = tiles_at(to, part.strip, block, &tiles);
        struct source here = from;
        here.x += from.k_apart ? (k - part.k) * from.ld : k - part.k;
        amx_lay_out(at + (k - block * LAID_DEPTH) / DEPTH * TILE, tiles * TILE, here, is_b,
                    part.strips, next - k);
    }
}

void product_laid(int64_t m, int64_t n, const struct laid *a, int64_t a_strip, const struct laid *b,
                  int64_t b_strip, bool adds, float *c, int64_t ldc)
{
    must(a->depth == b->depth && a_strip % STRIP == 0 && b_strip % STRIP == 0);
    for (int64_t block = 0; block * LAID_DEPTH < a->depth; block++) {
        int64_t tiles;
        const bf16 *left = tiles_at(a, a_strip, block, &tiles);
        const bf16 *right = tiles_at(b, b_strip, block, &tiles);
        amx_multiply(c, ldc, left, right, m, n, tiles * DEPTH, adds || block);
    }
}
