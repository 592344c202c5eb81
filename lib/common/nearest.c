#include "lib/common/nearest.h"

#include <stdlib.h>
#include <string.h>

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

const char *nearest_word(const char *typed, const char *const *names, int count)
{
    const char *best = NULL;
    int least = (int)strlen(typed) / 3 + 2;
    for (int i = 0; i < count; i++) {
        int d = distance(typed, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}
