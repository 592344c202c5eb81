#include "lib/common/json_plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_plain(unsigned char c) { return c >= 32 && c < 128 && c != '"' && c != '\\'; }

/* Copies eight bytes at a time (little-endian). `found` has the top bit of each byte that is not
 * plain. The subtractions may borrow and then also set bits of later bytes, but never of earlier
 * ones, so the lowest bit is right. */
static size_t run_plain(const char *from, size_t bytes, char *to)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    size_t at = 0;
    for (uint64_t x; bytes - at >= 8; at += 8) {
        memcpy(&x, from + at, 8);
        if (to) memcpy(to + at, &x, 8);
        uint64_t quote = x ^ '"' * ones, slash = x ^ '\\' * ones;
        uint64_t found =
            (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((x - 32 * ones) & ~x) | x) &
            tops;
        if (found) return at + (size_t)__builtin_ctzll(found) / 8;
    }
    for (; at < bytes && is_plain((unsigned char)from[at]); at++)
        if (to) to[at] = from[at];
    return at;
}

#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("avx2"))) static size_t run_avx2(const char *from, size_t bytes, char *to)
{
    const __m256i quote = _mm256_set1_epi8('"'), slash = _mm256_set1_epi8('\\');
    const __m256i first = _mm256_set1_epi8(32);
    size_t at = 0;
    for (; bytes - at >= 32; at += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(from + at));
        if (to) _mm256_storeu_si256((__m256i *)(to + at), x);
        /* Bytes from 128 on are negative, so they are less than 32 too. */
        __m256i found = _mm256_or_si256(_mm256_cmpeq_epi8(x, quote), _mm256_cmpeq_epi8(x, slash));
        found = _mm256_or_si256(found, _mm256_cmpgt_epi8(first, x));
        uint32_t bits = (uint32_t)_mm256_movemask_epi8(found);
        if (bits) return at + (size_t)__builtin_ctz(bits);
    }
    return at + run_plain(from + at, bytes - at, to ? to + at : NULL);
}

size_t json_plain(const char *from, size_t bytes, char *to)
{
    return __builtin_cpu_supports("avx2") ? run_avx2(from, bytes, to) : run_plain(from, bytes, to);
}
#else
size_t json_plain(const char *from, size_t bytes, char *to) { return run_plain(from, bytes, to); }
#endif
