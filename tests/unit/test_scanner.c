/* The scanners of known patterns cut random texts where PCRE2 cuts them. LONG=1: millions of texts.
 */
#include "lib/common/utf8.h"
#include "lib/tokenizer/scanner.h"
#include "lib/tokenizer/tokenizer_internal.h"
#include "lib/tokenizer/unicode_tables.h"
#include "tests/lib/check.h"

enum { TEXT_MAX = 1 << 15, WORDS = TEXT_MAX / 64 + 1 };

static struct fail why;

#define ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

static const struct {
    const char *name, *pattern;
    bool after_digits;
} kinds[] = {
    { "GPT-2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
      false },
    { "StarCoder",
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", true },
    { "LLaMA-3",
      ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
      false },
    { "Qwen 2",
      ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
      false },
    { "Qwen 3.5",
      ENDINGS
      "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES,
      false },
    { "o200k",
      "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ENDINGS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER
      "+" LOWER "*" ENDINGS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
      false },
    { "Tekken",
      "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
      "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
      false },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- random texts ---- */

static uint32_t any_character(void)
{
    for (;;) {
        uint32_t c = (uint32_t)check_below(check_below(2) ? 0x3000 : 0x32400);
        if (c < 0xd800 || c >= 0xe000) return c;
    }
}

/* A character of a kind that some pattern distinguishes; most are ASCII. */
static uint32_t random_character(int64_t kind)
{
    static const uint32_t newlines[] = { '\n', '\r', '\n' };
    static const uint32_t spaces[] = { ' ', ' ', '\t', 0xa0, 0x85, 0x3000, 0x2028, 0xb };
    static const uint32_t marks[] = { '.', '/', '\'', '"', '(', '-', '_', 0x2019, 0x2014, 0x1f600 };
    static const uint32_t small[] = { 's', 't', 'r',  'e',   'v',   'l',    'm',
                                      'd', 'x', 0xe9, 0x17f, 0x3b1, 0x1d41a };
    static const uint32_t capital[] = { 'S', 'T', 'R', 'E', 'L', 'A', 0xc9, 0x1c5, 0x391, 0x10400 };
    static const uint32_t letters[] = { 0x4e2d, 0x3042, 0xac00, 0x5d0, 0x2b0, 0xe01, 0x20000 };
    static const uint32_t combining[] = { 0x301, 0x5b0, 0x93e, 0xfe0f, 0x20e3, 0x1e944 };
    static const uint32_t numbers[] = { '0', '7', '9', 0xb2, 0x663, 0x2460, 0x1d7ce, 0x16e80 };
#define ONE_OF(list) list[check_below(sizeof list / sizeof *list)]
    switch (kind) {
    case 0:
        return ONE_OF(newlines);
    case 1:
        return ONE_OF(spaces);
    case 2:
        return ONE_OF(marks);
    case 3:
        return ONE_OF(small);
    case 4:
        return ONE_OF(capital);
    case 5:
        return ONE_OF(letters);
    case 6:
        return ONE_OF(combining);
    case 7:
        return ONE_OF(numbers);
    case 8:
        return ' ';
    case 9:
        return 'a' + (uint32_t)check_below(26);
    case 10:
        return '\'';
    default:
        return any_character();
    }
}

/* Writes runs of characters of one kind, most of them short. A text has few kinds or many. */
static size_t random_text(char *text)
{
    size_t bytes = 0, wanted = (size_t)check_below(check_below(20) ? 200 : 2000);
    int64_t first = check_below(12), kinds_used = 1 + check_below(12);
    bool has_long = !check_below(8);
    while (bytes < wanted) {
        int64_t kind = (first + check_below(kinds_used)) % 12;
        int64_t run = has_long && !check_below(6) ? 50 + check_below(100) : 1 + check_below(4);
        for (uint32_t same = random_character(kind); run--;)
            bytes += utf8_encode(check_below(3) ? random_character(kind) : same, text + bytes);
    }
    return bytes;
}

/* ---- the referee: PCRE2 ---- */

static void set(uint64_t *starts, size_t at) { starts[at / 64] |= UINT64_C(1) << (at % 64); }

/* Marks where the matches in text[from, to) start and end. */
static void cut_part(const struct splitter *s, struct split_work **work, const char *text,
                     size_t from, size_t to, uint64_t *starts)
{
    size_t start, end;
    assert_int_equal(split_work_begin(work, &why), 0);
    assert_int_equal(splitter_begin(s, *work, text + from, to - from, &why), 0);
    for (size_t at = 0; at < to - from; at = end) {
        assert_int_equal(splitter_next(s, *work, at, &start, &end, &why), 1);
        assert_int_equal(start, at);
        set(starts, from + at);
    }
}

static void cut_by_pattern(const struct splitter *s, struct split_work **work, bool after_digits,
                           const char *text, size_t bytes, uint64_t *starts)
{
    size_t from = 0;
    memset(starts, 0, (bytes / 64 + 1) * sizeof *starts);
    for (size_t at = 0, n; at < bytes && after_digits; at += n) {
        if (!unicode_is_numeric(utf8_decode(text + at, &n))) continue;
        cut_part(s, work, text, from, at, starts);
        set(starts, at);
        from = at + n;
    }
    cut_part(s, work, text, from, bytes, starts);
}

static void compare(const char *name, const char *text, size_t bytes, const uint64_t *got,
                    const uint64_t *wanted)
{
    for (size_t at = 0; at < bytes; at++) {
        bool has = got[at / 64] >> (at % 64) & 1, wants = wanted[at / 64] >> (at % 64) & 1;
        if (has == wants) continue;
        printf("# %s: %zu bytes:", name, bytes);
        for (size_t i = 0; i < bytes; i++)
            printf(" %s%02x", i == at ? ">" : "", (unsigned char)text[i]);
        printf("\n");
        fail_msg("%s: byte %zu: %s", name, at, wants ? "no start" : "a start");
    }
}

static void test_scanners_cut_as_patterns(void **state)
{
    (void)state;
    static char text[TEXT_MAX];
    static uint64_t got[WORDS], wanted[WORDS];
    int64_t texts = getenv("LONG") ? 1000000 : 4000;
    for (int k = 0; k < KINDS; k++) {
        struct splitter *s;
        struct split_work *work = NULL;
        size_t by_scanner = 0, all = 0;
        const struct scanner *scanner = scanner_find(kinds[k].pattern, kinds[k].after_digits);
        assert_int_equal(splitter_open(&s, kinds[k].pattern, &why), 0);
        assert_true(scanner && splitter_covers(s));
        if (kinds[k].after_digits) assert_true(splitter_follow_digits(s));
        for (int64_t i = 0; i < texts; i++) {
            size_t bytes = random_text(text);
            assert_int_equal(splitter_cut(s, &work, got, text, bytes, &why), 0);
            got[bytes / 64] &= ~(UINT64_C(1) << (bytes % 64));
            cut_by_pattern(s, &work, kinds[k].after_digits, text, bytes, wanted);
            compare(kinds[k].name, text, bytes, got, wanted);
            memset(got, 0, sizeof *got * (bytes / 64 + 1));
            by_scanner += scanner_cut(scanner, got, text, bytes, 0);
            all += bytes;
        }
        /* The scanner itself must do a good part of the work. */
        if (by_scanner < all / 20) fail_msg("%s: %zu of %zu bytes", kinds[k].name, by_scanner, all);
        split_work_release(work);
        splitter_close(s);
    }
}

/* ---- classes and masks ---- */

/* Every character has the class that PCRE2 gives to it, or to its replacement if unicode_late.c has
 * one. */
static void test_classes_are_the_patterns(void **state)
{
    (void)state;
    static const struct {
        enum unicode_class class;
        const char *pattern;
    } classes[] = {
        { UNICODE_UPPER, "[\\p{Lu}\\p{Lt}]+" },  { UNICODE_LOWER, "\\p{Ll}+" },
        { UNICODE_LETTER, "[\\p{Lm}\\p{Lo}]+" }, { UNICODE_COMBINING, "\\p{M}+" },
        { UNICODE_NUMBER, "\\p{N}+" },           { UNICODE_SPACE, "\\s+" },
    };
    const uint8_t *class_of = unicode_classes();
    char *text = malloc(4 * 0x110000);
    size_t bytes = 0, start, end, n;
    for (uint32_t c = 0; c < 0x110000; c++)
        if (c < 0xd800 || c >= 0xe000) bytes += utf8_encode(c, text + bytes);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        struct splitter *s;
        struct split_work *work = NULL;
        assert_int_equal(splitter_open(&s, classes[i].pattern, &why), 0);
        assert_int_equal(split_work_begin(&work, &why), 0);
        assert_int_equal(splitter_begin(s, work, text, bytes, &why), 0);
        size_t at = 0;
        int got;
        do {
            got = splitter_next(s, work, at, &start, &end, &why);
            if (!got) start = end = bytes;
            for (; at < end; at += n) {
                uint32_t c = utf8_decode(text + at, &n);
                if ((class_of[c] == classes[i].class) != (at >= start))
                    fail_msg("U+%04X: class %d, %s", c, class_of[c], classes[i].pattern);
            }
        } while (got);
        split_work_release(work);
        splitter_close(s);
    }
    for (size_t at = 0; at < bytes; at += n) {
        uint32_t c = utf8_decode(text + at, &n);
        bool is_number = class_of[c] == UNICODE_NUMBER || class_of[c] == UNICODE_LATE_NUMBER;
        if (is_number != unicode_is_numeric(c)) fail_msg("U+%04X: class %d", c, class_of[c]);
    }
    free(text);
}

static void test_masks_are_equal(void **state)
{
    (void)state;
    scanner_masks_way *ways[] = { scanner_masks_avx2(), scanner_masks_avx512(), scanner_masks };
    char text[SCANNER_BLOCK];
    uint64_t plain[MASKS], mask[MASKS];
    for (int i = 0; i < 2000; i++) {
        for (int b = 0; b < SCANNER_BLOCK; b++)
            text[b] = (char)(i < 4 ? 64 * i + b : check_below(256));
        scanner_masks_plain()(plain, text);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            if (!ways[w]) continue;
            ways[w](mask, text);
            assert_memory_equal(mask, plain, sizeof mask);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks_are_equal),
        cmocka_unit_test(test_classes_are_the_patterns),
        cmocka_unit_test(test_scanners_cut_as_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
