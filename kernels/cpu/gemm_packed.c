/* Matrix products of operands that are packed once for many products. cpu.h describes them. */
#include "kernels/cpu/cpu.h"

bool packing_usable(void)
{
#if defined(GEMM_BF16)
    return true;
#else
    return false;
#endif
}

size_t packed_elements(int64_t width, int64_t depth)
{
    return (size_t)(ceil_div(width, PANEL) * PANEL * ceil_div(depth, TILE_K) * TILE_K);
}

/* Returns the tiles of an operand from index k on. The first panel begins at row `start` of A (or
 * column `start` of B); the panels after it follow. The tiles reach to the end of the block of
 * PACK_DEPTH that contains k, and *end becomes this end. */
static struct tiles tiles_at(const struct packed *m, int64_t start, int64_t k, int64_t *end)
{
    must(start % PANEL == 0 && k % TILE_K == 0);
    int64_t from = k / PACK_DEPTH * PACK_DEPTH;
    *end = min_i64(from + PACK_DEPTH, m->depth);
    int64_t deep = ceil_div(*end - from, TILE_K) * TILE_K,
            width = ceil_div(m->width, PANEL) * PANEL;
    return (struct tiles){ m->at + width * from + start * deep + (k - from) * PANEL, deep * PANEL };
}

void pack_operand(const struct packed *to, struct packed_part part, struct source from, bool is_b)
{
    for (int64_t k = 0, end; k < part.depth; k = end - part.k) {
        struct tiles tiles = tiles_at(to, part.start, part.k + k, &end);
        struct source here = from;
        here.x += from.k_is_outer ? k * from.ld : k;
        end = min_i64(end, part.k + part.depth);
        pack_tiles(tiles, here, is_b, part.width, end - part.k - k);
    }
}

void gemm_packed(int64_t m, int64_t n, int64_t k, struct packed_view a, struct packed_view b,
                 bool adds, float *c, int64_t ldc)
{
    for (int64_t done = 0, next; done < k; done = next) {
        int64_t a_end, b_end;
        struct tiles left = tiles_at(a.of, a.start, a.k + done, &a_end);
        struct tiles right = tiles_at(b.of, b.start, b.k + done, &b_end);
        next = min_i64(k, min_i64(a_end - a.k, b_end - b.k));
        must(next > done);
        multiply_tiles(c, ldc, left, right, m, n, ceil_div(next - done, TILE_K), adds || done);
    }
}
