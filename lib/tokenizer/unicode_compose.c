/* unicode_compose.c - converts text to normalization form C with utf8proc.
 *
 * The library tokenizers has the tables of Unicode 9. There, a character that was added later
 * neither decomposes nor combines, so the text before it and the text after it are composed
 * separately. For characters of Unicode 9, later versions give the same normal form.
 */
#include "lib/common/utf8.h"
#include "lib/tokenizer/unicode_tables.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The characters of Unicode 10 to 14 that combine or decompose (tests/golden/compose/late). */
static const struct unicode_range late[] = {
    { 0x07fd, 0x07fd },   { 0x0898, 0x089f },   { 0x08ca, 0x08d3 },   { 0x09fe, 0x09fe },
    { 0x0c3c, 0x0c3c },   { 0x0d3b, 0x0d3c },   { 0x0eba, 0x0eba },   { 0x1715, 0x1715 },
    { 0x1abf, 0x1ace },   { 0x1df6, 0x1dfa },   { 0xa82c, 0xa82c },   { 0x10d24, 0x10d27 },
    { 0x10eab, 0x10eac }, { 0x10f46, 0x10f50 }, { 0x10f82, 0x10f85 }, { 0x11070, 0x11070 },
    { 0x1133b, 0x1133b }, { 0x1145e, 0x1145e }, { 0x11839, 0x1183a }, { 0x11930, 0x11930 },
    { 0x11938, 0x11938 }, { 0x1193d, 0x1193e }, { 0x11943, 0x11943 }, { 0x119e0, 0x119e0 },
    { 0x11a34, 0x11a34 }, { 0x11a47, 0x11a47 }, { 0x11a99, 0x11a99 }, { 0x11d42, 0x11d42 },
    { 0x11d44, 0x11d45 }, { 0x11d97, 0x11d97 }, { 0x16ff0, 0x16ff1 }, { 0x1e130, 0x1e136 },
    { 0x1e2ae, 0x1e2ae }, { 0x1e2ec, 0x1e2ef }
};

/* Ranges that contain all such characters of Unicode 15 to 18, and no character of Unicode 14. */
static const struct unicode_range later[] = {
    { 0x05c8, 0x05cf },   { 0x0897, 0x0897 },   { 0x1acf, 0x1aff },   { 0x105c0, 0x105ff },
    { 0x10940, 0x1095f }, { 0x10d40, 0x10d8f }, { 0x10ec0, 0x10eff }, { 0x11380, 0x113ff },
    { 0x11bc0, 0x11bff }, { 0x11db0, 0x11def }, { 0x11f00, 0x11f5f }, { 0x16100, 0x1613f },
    { 0x16d40, 0x16d7f }, { 0x16ea0, 0x16edf }, { 0x1d127, 0x1d128 }, { 0x1d250, 0x1d2bf },
    { 0x1e030, 0x1e08f }, { 0x1e4d0, 0x1e4ff }, { 0x1e5d0, 0x1e5ff }, { 0x1e6c0, 0x1e6ff }
};

static bool is_in(const struct unicode_range *ranges, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count && ranges[i].first <= c; i++)
        if (c <= ranges[i].last) return true;
    return false;
}

static bool is_late(uint32_t c)
{
    return is_in(late, sizeof late / sizeof *late, c) ||
           is_in(later, sizeof later / sizeof *later, c);
}

bool unicode_is_composed(const char *text, size_t bytes)
{
    /* Characters below U+0300 do not combine, and NFC composes again those that decompose. */
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= 0xcc) return false;
    return true;
}

/* Returns where the next character begins that Unicode 9 lacks, or the end of the text. */
static size_t find_late(const char *text, size_t bytes, size_t *length)
{
    size_t at = 0;
    for (; at < bytes; at += *length)
        if (is_late(utf8_decode(text + at, length))) return at;
    *length = 0;
    return at;
}

int unicode_compose(const char *text, size_t bytes, char **out, size_t *used)
{
    /* No character becomes more than three times as long; U+1D160 becomes exactly three times as
     * long. */
    char *to = *out = malloc(3 * bytes + 1);
    if (!to) return -1;
    for (size_t at = 0, inert; at < bytes; at += inert) {
        size_t run = find_late(text + at, bytes - at, &inert);
        utf8proc_uint8_t *composed = NULL;
        utf8proc_ssize_t length = 0;
        if (run)
            length = utf8proc_map((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)run,
                                  &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (length < 0) {
            free(*out);
            *out = NULL;
            return -1;
        }
        memcpy(to, composed ? (const char *)composed : "", (size_t)length);
        free(composed);
        memcpy(to + length, text + at + run, inert);
        to += (size_t)length + inert;
        at += run;
    }
    *used = (size_t)(to - *out);
    return 0;
}
