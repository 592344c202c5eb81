/* tally.h - a counter for each of several names, for a report: "3 with tools, 1 empty". Not for
 * several threads at once. */
#ifndef LONGQLORA_TALLY_H
#define LONGQLORA_TALLY_H

#include <stddef.h>
#include <stdint.h>

/* After TALLY_NAMES_MAX different names, all further names are counted together, so that no input
 * makes the tally large. Names are cut at TALLY_NAME_MAX bytes. */
enum { TALLY_NAMES_MAX = 256, TALLY_NAME_MAX = 120 };

struct tally_entry {
    char *name;
    uint64_t count;
};

/* Zero the struct before use; release it with tally_release. */
struct tally {
    struct tally_entry *at;
    size_t count;
    uint64_t others; /* counts of names beyond TALLY_NAMES_MAX */
};

/* Frees the names. */
void tally_release(struct tally *t);

/* Adds `count` to the count of a name. The name is copied, and cut at TALLY_NAME_MAX bytes. If
 * memory runs out, the count goes to `others`. */
void tally_add(struct tally *t, const char *name, uint64_t count);
/* tally_add_all adds all counts of `from`. tally_sum returns the sum of all counts. */
void tally_add_all(struct tally *to, const struct tally *from);
uint64_t tally_sum(const struct tally *t);

/* Writes the counts into text[size], the most frequent first, as many as fit, then how many
 * others there are. TALLY_THINGS gives "3 with tools, 1 empty"; TALLY_KEYS gives "'id' (3),
 * 'lang' (1)". */
enum tally_style { TALLY_THINGS, TALLY_KEYS };
void tally_text(struct tally *t, enum tally_style style, char *text, size_t size);

#endif
