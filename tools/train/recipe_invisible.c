/* Finds characters that are invisible or look like a space, but that are no space in YAML. */
#include "lib/common/utf8.h"
#include "tools/train/recipe_inside.h"

static const struct {
    uint32_t first, last;
    const char *name;
} invisible[] = {
    { 0x85, 0x85, "a line break of mainframes" },
    { 0xa0, 0xa0, "a no-break space" },
    { 0xad, 0xad, "a soft hyphen" },
    { 0x1680, 0x1680, "a space of another script" },
    { 0x180e, 0x180e, "an invisible character" },
    { 0x2000, 0x200a, "a space of another width" },
    { 0x200b, 0x200b, "a space without width" },
    { 0x200c, 0x200d, "an invisible character" },
    { 0x200e, 0x200f, "a direction mark" },
    { 0x2028, 0x2029, "a line separator" },
    { 0x202a, 0x202e, "a direction mark" },
    { 0x202f, 0x202f, "a narrow no-break space" },
    { 0x205f, 0x205f, "a space of another width" },
    { 0x2060, 0x2064, "an invisible character" },
    { 0x2066, 0x2069, "a direction mark" },
    { 0x3000, 0x3000, "a space of another width" },
    { 0xfeff, 0xfeff, "a byte order mark" },
};

/* Returns the name of an invisible character, or NULL for any other. */
static const char *name_of_character(uint32_t c)
{
    for (size_t i = 0; i < sizeof invisible / sizeof *invisible; i++)
        if (c >= invisible[i].first && c <= invisible[i].last) return invisible[i].name;
    return NULL;
}

bool recipe_invisible_find(const char *text, size_t bytes, size_t *column,
                           char what[RECIPE_INVISIBLE])
{
    *column = 0;
    for (size_t at = 0, n = 1; at < bytes; at += n, ++*column) {
        bool is_valid = utf8_valid((const unsigned char *)text + at, bytes - at) > 0;
        uint32_t c = is_valid ? utf8_decode(text + at, &n) : 0;
        const char *name = name_of_character(c);
        if (!is_valid) n = 1;
        if (!name) continue;
        snprintf(what, RECIPE_INVISIBLE, "U+%04X, %s", (unsigned)c, name);
        return true;
    }
    return false;
}
