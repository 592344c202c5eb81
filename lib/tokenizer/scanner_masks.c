/* scanner_masks.c - the masks of a block, by comparing all of its bytes with a few ranges. */
#include "lib/tokenizer/scanner.h"

#include <string.h>

/* The bytes first .. first + count - 1 belong to the mask. */
static const struct {
    enum scanner_mask mask;
    uint8_t first, count;
} ranges[] = {
    { MASK_UPPER, 'A', 26 },   { MASK_LOWER, 'a', 26 },   { MASK_DIGIT, '0', 10 },
    { MASK_SPACE, '\t', 5 },   { MASK_SPACE, ' ', 1 },    { MASK_NEWLINE, '\n', 1 },
    { MASK_NEWLINE, '\r', 1 }, { MASK_BLANK, ' ', 1 },    { MASK_QUOTE, '\'', 1 },
    { MASK_SLASH, '/', 1 },    { MASK_HIGH, 0x80, 0x80 }, { MASK_TAIL, 0x80, 0x40 },
};
enum { RANGES = sizeof ranges / sizeof *ranges };

static void find_plain(uint64_t mask[MASKS], const char *text)
{
    memset(mask, 0, MASKS * sizeof *mask);
    for (int i = 0; i < RANGES; i++)
        for (int b = 0; b < SCANNER_BLOCK; b++) {
            uint8_t offset = (uint8_t)((uint8_t)text[b] - ranges[i].first);
            mask[ranges[i].mask] |= (uint64_t)(offset < ranges[i].count) << b;
        }
}

scanner_masks_way *scanner_masks_plain(void) { return find_plain; }

#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("avx2"))) static void find_avx2(uint64_t mask[MASKS], const char *text)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)text);
    __m256i high = _mm256_loadu_si256((const __m256i *)(text + 32));
    memset(mask, 0, MASKS * sizeof *mask);
#pragma GCC unroll 16
    for (int i = 0; i < RANGES; i++) {
        __m256i first = _mm256_set1_epi8((char)ranges[i].first);
        __m256i last = _mm256_set1_epi8((char)(ranges[i].count - 1));
        __m256i a = _mm256_sub_epi8(low, first), b = _mm256_sub_epi8(high, first);
        a = _mm256_cmpeq_epi8(_mm256_min_epu8(a, last), a);
        b = _mm256_cmpeq_epi8(_mm256_min_epu8(b, last), b);
        mask[ranges[i].mask] |=
            (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32;
    }
}

__attribute__((target("avx512bw"))) static void find_avx512(uint64_t mask[MASKS], const char *text)
{
    __m512i all = _mm512_loadu_si512(text);
    memset(mask, 0, MASKS * sizeof *mask);
#pragma GCC unroll 16
    for (int i = 0; i < RANGES; i++) {
        __m512i offset = _mm512_sub_epi8(all, _mm512_set1_epi8((char)ranges[i].first));
        __m512i count = _mm512_set1_epi8((char)ranges[i].count);
        mask[ranges[i].mask] |= _mm512_cmplt_epu8_mask(offset, count);
    }
}

scanner_masks_way *scanner_masks_avx2(void)
{
    return __builtin_cpu_supports("avx2") ? find_avx2 : NULL;
}

scanner_masks_way *scanner_masks_avx512(void)
{
    return __builtin_cpu_supports("avx512bw") ? find_avx512 : NULL;
}
#else
scanner_masks_way *scanner_masks_avx2(void) { return NULL; }
scanner_masks_way *scanner_masks_avx512(void) { return NULL; }
#endif

#ifdef __aarch64__
#include <arm_neon.h>

/* Collects the top bits of 16 bytes, each of which is 0 or 0xff. */
static uint64_t gather(uint8x16_t is_in)
{
    static const uint8_t bits[16] = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };
    uint8x16_t each = vandq_u8(is_in, vld1q_u8(bits));
    return vaddv_u8(vget_low_u8(each)) | (uint64_t)vaddv_u8(vget_high_u8(each)) << 8;
}

static void find_neon(uint64_t mask[MASKS], const char *text)
{
    memset(mask, 0, MASKS * sizeof *mask);
    for (int part = 0; part < SCANNER_BLOCK; part += 16) {
        uint8x16_t all = vld1q_u8((const uint8_t *)text + part);
#pragma GCC unroll 16
        for (int i = 0; i < RANGES; i++) {
            uint8x16_t offset = vsubq_u8(all, vdupq_n_u8(ranges[i].first));
            mask[ranges[i].mask] |= gather(vcltq_u8(offset, vdupq_n_u8(ranges[i].count))) << part;
        }
    }
}
#endif

void scanner_masks(uint64_t mask[MASKS], const char *text)
{
    static scanner_masks_way *way;
    scanner_masks_way *found = __atomic_load_n(&way, __ATOMIC_RELAXED);
    if (!found) {
        found = find_plain;
        if (scanner_masks_avx2()) found = scanner_masks_avx2();
        if (scanner_masks_avx512()) found = scanner_masks_avx512();
#ifdef __aarch64__
        found = find_neon;
#endif
        __atomic_store_n(&way, found, __ATOMIC_RELAXED);
    }
    found(mask, text);
}
