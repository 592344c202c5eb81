/* Operands laid out once for many products: see cpu.h. */
#include "cpu.h"

bool laid_usable(void) { return amx_usable(); }

size_t laid_elements(int64_t strips, int64_t depth)
{
    return (size_t)(pieces(strips, STRIP) * STRIP * pieces(depth, DEPTH) * DEPTH);
}

/* The tiles of the strip from k on, which is in a block that ends at *end. */
static struct tiles tiles_at(const struct laid *m, int64_t strip, int64_t k, int64_t *end)
{
    must(strip % STRIP == 0 && k % DEPTH == 0);
    int64_t from = k / LAID_DEPTH * LAID_DEPTH;
    *end = least(from + LAID_DEPTH, m->depth);
    int64_t deep = pieces(*end - from, DEPTH) * DEPTH, strips = pieces(m->strips, STRIP) * STRIP;
    return (struct tiles){ m->at + strips * from + strip * deep + (k - from) * STRIP,
                           deep * STRIP };
}

void lay_out(const struct laid *to, struct laid_part part, struct source from, bool is_b)
{
    for (int64_t k = 0, end; k < part.depth; k = end - part.k) {
        struct tiles tiles = tiles_at(to, part.strip, part.k + k, &end);
        struct source here = from;
        here.x += from.k_apart ? k * from.ld : k;
        end = least(end, part.k + part.depth);
        amx_lay_out(tiles, here, is_b, part.strips, end - part.k - k);
    }
}

void product_laid(int64_t m, int64_t n, int64_t k, struct corner a, struct corner b, bool adds,
                  float *c, int64_t ldc)
{
    for (int64_t done = 0, next; done < k; done = next) {
        int64_t a_end, b_end;
        struct tiles left = tiles_at(a.of, a.strip, a.k + done, &a_end);
        struct tiles right = tiles_at(b.of, b.strip, b.k + done, &b_end);
        next = least(k, least(a_end - a.k, b_end - b.k));
        must(next > done);
        amx_multiply(c, ldc, left, right, m, n, pieces(next - done, DEPTH), adds || done);
    }
}
