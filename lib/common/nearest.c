#include "lib/common/nearest.h"

#include <stdlib.h>
#include <string.h>

/* Returns the Levenshtein distance of two words, and LONGEST if one is longer than that. One row of
 * the usual table is kept: before step i, row[j] is the distance of the first i letters of a and
 * the first j letters of b. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return LONGEST;
    int row[LONGEST + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[m];
}

const char *nearest_word(const char *typed, const char *const *words, int count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(typed) / 3 + 2;
    for (int i = 0; i < count; i++) {
        int d = distance(typed, words[i]);
        if (d < best_distance) {
            best_distance = d;
            best = words[i];
        }
    }
    return best;
}
