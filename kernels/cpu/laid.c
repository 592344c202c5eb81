/* Operands laid out once for many products: see cpu.h. */
#include "cpu.h"

#if defined(PRODUCTS_BF16)

bool laid_usable(void) { return amx_usable(); }

size_t laid_elements(int64_t strips, int64_t depth)
{
    return (size_t)(pieces(strips, STRIP) * STRIP * pieces(depth, DEPTH) * DEPTH);
}

/* Where the strip's tiles of that block of k begin, and how many they are. */
static bf16 *tiles_at(const struct laid *m, int64_t strip, int64_t block, int64_t *tiles)
{
    int64_t from = block * LAID_DEPTH, strips = pieces(m->strips, STRIP) * STRIP;
    *tiles = pieces(least(LAID_DEPTH, m->depth - from), DEPTH);
    return m->at + strips * from + strip * *tiles * DEPTH;
}

void lay_out(const struct laid *to, struct laid_part part, const float *x, int64_t ld, bool k_apart,
             bool is_b)
{
    must(part.strip % STRIP == 0 && part.k % DEPTH == 0);
    for (int64_t k = part.k, end = part.k + part.depth, next; k < end; k = next) {
        int64_t block = k / LAID_DEPTH, tiles;
        next = least(end, (block + 1) * LAID_DEPTH);
        for (int64_t s = 0; s < part.strips; s += STRIP) {
            bf16 *at = tiles_at(to, part.strip + s, block, &tiles);
            amx_lay_out(at + (k - block * LAID_DEPTH) / DEPTH * TILE,
                        k_apart ? x + (k - part.k) * ld + s : x + s * ld + (k - part.k), ld,
                        k_apart, is_b, least(STRIP, part.strips - s), next - k);
        }
    }
}

void product_laid(int64_t m, int64_t n, float alpha, const struct laid *a, int64_t a_strip,
                  const struct laid *b, int64_t b_strip, float beta, float *c, int64_t ldc)
{
    must(a->depth == b->depth && a_strip % STRIP == 0 && b_strip % STRIP == 0);
    for (int64_t block = 0; block * LAID_DEPTH < a->depth; block++) {
        int64_t tiles;
        const bf16 *left = tiles_at(a, a_strip, block, &tiles);
        const bf16 *right = tiles_at(b, b_strip, block, &tiles);
        amx_multiply(c, ldc, left, right, m, n, tiles * DEPTH, alpha, block ? 1 : beta);
    }
}

#else

bool laid_usable(void) { return false; }
size_t laid_elements(int64_t strips, int64_t depth) { return (size_t)(0 * strips * depth); }

void lay_out(const struct laid *to, struct laid_part part, const float *x, int64_t ld, bool k_apart,
             bool is_b)
{
    (void)to, (void)part, (void)x, (void)ld, (void)k_apart, (void)is_b;
    must(false);
}

void product_laid(int64_t m, int64_t n, float alpha, const struct laid *a, int64_t a_strip,
                  const struct laid *b, int64_t b_strip, float beta, float *c, int64_t ldc)
{
    (void)m, (void)n, (void)alpha, (void)a, (void)a_strip, (void)b, (void)b_strip, (void)beta;
    (void)c, (void)ldc;
    must(false);
}

#endif
