/* tally.h - how often each thing came up, by name, for a report: "3 with tools, 1 empty". */
#ifndef LONGQLORA_TALLY_H
#define LONGQLORA_TALLY_H

#include <stddef.h>
#include <stdint.h>

/* More names than these are counted together, so that no input makes it large. */
enum { TALLY_NAMES_MAX = 256, TALLY_NAME_MAX = 120 };

struct tally_entry {
    char *name;
    uint64_t count;
};

/* Zero it. */
struct tally {
    struct tally_entry *at;
    size_t count;
    uint64_t others; /* of names that there was no room for */
};

void tally_release(struct tally *t);

/* Copies the name, of which no more than TALLY_NAME_MAX bytes tell. Where memory is out it counts
 * among the others. */
void tally_add(struct tally *t, const char *name, uint64_t count);
void tally_add_all(struct tally *to, const struct tally *from);
uint64_t tally_sum(const struct tally *t);

/* The most frequent first, as much as fits, then how many others there are: "3 with tools, 1
 * empty", or, for keys of records, "'id' (3), 'lang' (1)". */
enum tally_style { TALLY_THINGS, TALLY_KEYS };
void tally_text(struct tally *t, enum tally_style style, char *text, size_t size);

#endif
