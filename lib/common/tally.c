#include "lib/common/tally.h"

#include "lib/common/compiler.h"

void tally_release(struct tally *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->at[i].name);
    free(t->at);
    *t = (struct tally){ 0 };
}

void tally_add(struct tally *t, const char *name, uint64_t count)
{
    size_t bytes = strnlen(name, TALLY_NAME_MAX);
    for (size_t i = 0; i < t->count; i++)
        if (!strncmp(t->at[i].name, name, bytes) && !t->at[i].name[bytes]) {
            t->at[i].count += count;
            return;
        }
    if (!t->at) t->at = malloc(TALLY_NAMES_MAX * sizeof *t->at);
    char *copy = t->at && t->count < TALLY_NAMES_MAX ? strndup(name, bytes) : NULL;
    if (copy)
        t->at[t->count++] = (struct tally_entry){ copy, count };
    else
        t->others += count;
}

void tally_add_all(struct tally *to, const struct tally *from)
{
    for (size_t i = 0; i < from->count; i++)
        tally_add(to, from->at[i].name, from->at[i].count);
    to->others += from->others;
}

uint64_t tally_sum(const struct tally *t)
{
    uint64_t sum = t->others;
    for (size_t i = 0; i < t->count; i++)
        sum += t->at[i].count;
    return sum;
}

static int by_count(const void *a, const void *b)
{
    const struct tally_entry *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return strcmp(x->name, y->name);
}

void tally_text(struct tally *t, enum tally_style style, char *text, size_t size)
{
    enum { REST = 24 }; /* bytes kept free for ", 12345 others" at the end */
    size_t used = 0;
    uint64_t others = tally_sum(t);
    text[0] = 0;
    if (t->count) qsort(t->at, t->count, sizeof *t->at, by_count);
    for (size_t i = 0; i < t->count; i++) {
        char one[TALLY_NAME_MAX + 40];
        const char *comma = used ? ", " : "";
        unsigned long long count = t->at[i].count;
        if (style == TALLY_KEYS)
            snprintf(one, sizeof one, "%s'%s' (%llu)", comma, t->at[i].name, count);
        else
            snprintf(one, sizeof one, "%s%llu %s", comma, count, t->at[i].name);
        if (used + strlen(one) + REST > size) break;
        used += (size_t)snprintf(text + used, size - used, "%s", one);
        others -= count;
    }
    if (others)
        snprintf(text + used, size - used, "%s%llu others", used ? ", " : "",
                 (unsigned long long)others);
}
