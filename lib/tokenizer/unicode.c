/* unicode.c - looks up characters in the tables. */
#include "lib/tokenizer/unicode_tables.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

enum { CODE_POINTS = 0x110000 };

static bool is_in(const struct unicode_range *ranges, int count, uint32_t c)
{
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (ranges[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].first <= c;
}

bool unicode_is_numeric(uint32_t c) { return is_in(unicode_numeric, unicode_numeric_count, c); }
bool unicode_is_word(uint32_t c) { return is_in(unicode_word, unicode_word_count, c); }

bool unicode_is_punctuation(uint32_t c)
{
    return is_in(unicode_punctuation, unicode_punctuation_count, c);
}

bool unicode_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

uint32_t unicode_stand_in(uint32_t c)
{
    int low = 0, high = unicode_late_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (unicode_late[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_late = low < unicode_late_count && unicode_late[low].first <= c;
    return is_late ? unicode_late[low].other : c;
}

/* One byte for each code point, because a look-up in ranges would take longer than all else that is
 * done for a character. */
static uint8_t classes[CODE_POINTS];

static void fill_classes(void)
{
    for (int i = 0; i < unicode_class_count; i++) {
        uint32_t first = unicode_class_ranges[i] >> 4, end = CODE_POINTS;
        if (i + 1 < unicode_class_count) end = unicode_class_ranges[i + 1] >> 4;
        memset(classes + first, (int)(unicode_class_ranges[i] & 15), end - first);
    }
}

const uint8_t *unicode_classes(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_classes);
    return classes;
}
