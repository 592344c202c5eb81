/* The normalization form C of every character equals that of Hugging Face's tokenizers
 * (tests/golden/compose.py). */
#include "lib/common/utf8.h"
#include "lib/tokenizer/unicode_tables.h"
#include "tests/lib/check.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static uint32_t crc_more(uint32_t crc, const char *text, size_t bytes)
{
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256 && !table[255]; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
        table[i] = c;
    }
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ (unsigned char)text[i]) & 0xff];
    return crc;
}

static uint32_t add_composed(uint32_t crc, const char *text)
{
    char *out;
    size_t bytes;
    assert_int_equal(unicode_compose(text, strlen(text), &out, &bytes), 0);
    /* If unicode_is_composed says that a text is composed, then composing does not change it. */
    if (unicode_is_composed(text, strlen(text))) {
        assert_int_equal(bytes, strlen(text));
        assert_memory_equal(out, text, bytes);
    }
    crc = crc_more(crc, out, bytes);
    free(out);
    return crc;
}

static uint32_t crc_of_block(uint32_t first)
{
    uint32_t crc = UINT32_MAX;
    for (uint32_t c = first ? first : 1; c < first + 0x1000; c++) {
        char x[8] = "", text[120];
        if (c >= 0xd800 && c < 0xe000) continue;
        x[utf8_encode(c, x)] = 0;
        snprintf(text, sizeof text,
                 "%s.%s\xcc\x81\xcc\xa3.%s\xcc\xa7\xcc\x81%s.e%s.a%s\xcc\x81.\xe1\x84\x80%s"
                 "\xe1\x86\xa8.",
                 x, x, x, x, x, x, x);
        crc = add_composed(crc, text);
    }
    return ~crc;
}

/* Is the character newer than Python's Unicode 14, and does utf8proc decompose it? */
static bool is_newer(uint32_t c)
{
    return (c >= 0x105c0 && c < 0x10600) || (c >= 0x11380 && c < 0x11400) ||
           (c >= 0x16100 && c < 0x16140) || (c >= 0x16d40 && c < 0x16d80);
}

/* Decomposes each character of Unicode 14, and composes four texts: the parts, the parts backwards,
 * the parts with a mark at the end, and with a mark after the first part. Returns the CRC of all
 * composed texts. */
static uint32_t crc_of_decomposed(void)
{
    uint32_t crc = UINT32_MAX;
    bool is_first = true;
    for (uint32_t c = 1; c < 0x110000; c++) {
        char x[8] = "", text[4][80] = { "" };
        uint32_t parts[16];
        size_t count = 0, n;
        if ((c >= 0xd800 && c < 0xe000) || is_newer(c)) continue;
        x[utf8_encode(c, x)] = 0;
        utf8proc_uint8_t *nfd = utf8proc_NFD((const utf8proc_uint8_t *)x);
        assert_non_null(nfd);
        for (const char *at = (const char *)nfd; *at && strcmp((const char *)nfd, x) != 0; at += n)
            parts[count++] = utf8_decode(at, &n);
        for (size_t i = 0; i < count; i++) {
            char one[8] = "";
            one[utf8_encode(parts[i], one)] = 0;
            strncat(text[0], one, 8);
            strncat(text[3], one, 8);
            if (!i) strncat(text[3], "\xcc\xa3", 8);
            one[utf8_encode(parts[count - 1 - i], memset(one, 0, sizeof one))] = 0;
            strncat(text[1], one, 8);
        }
        memcpy(text[2], text[0], sizeof text[2]);
        strncat(text[2], "\xcc\x81", 8);
        for (int i = 0; i < 4 && count; i++) {
            if (!is_first) crc = crc_more(crc, "\n", 1);
            is_first = false;
            crc = add_composed(crc, text[i]);
        }
        free(nfd);
    }
    return ~crc;
}

static void test_every_character(void **state)
{
    (void)state;
    FILE *file = fopen("tests/golden/compose/compose", "re");
    unsigned first, crc, blocks = 0, others = 0;
    assert_non_null(file);
    while (fscanf(file, "%x %x", &first, &crc) == 2) {
        if (crc_of_block(first) != crc) {
            printf("# characters from U+%04X on\n", first);
            others++;
        }
        blocks++;
    }
    assert_int_equal(fscanf(file, "omposed %x", &crc),
                     1); /* of "decomposed" the loop's %x has read "dec" as digits */
    fclose(file);
    assert_int_equal(others, 0);
    assert_int_equal(crc_of_decomposed(), crc);
    assert_true(blocks > 260);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_character) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
