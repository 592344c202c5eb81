/* wording.h - the texts around the needles: what stands before and after the context, how an answer
 * begins, and the needle itself. Our own, or those of a file.
 *
 * A file is a JSON object in the form of RULER's scripts/data/synthetic/constants.py (TASKS) as
 * JSON, with the needles of niah.py and variable_tracking.py as the key "needle".
 */
#ifndef LONGQLORA_NEEDLE_WORDING_H
#define LONGQLORA_NEEDLE_WORDING_H

#include "lib/common/fail.h"

#include <stdint.h>

/* Tasks of one family have the same wording. */
enum family { FAMILY_NEEDLE, FAMILY_TRACKING, FAMILY_COMMON, FAMILY_FREQUENT, FAMILIES };

/* Several answers, or one: RULER words a single needle in the singular. */
enum number { NUMBER_MANY, NUMBER_ONE, NUMBERS };

struct words {
    char *template; /* {context} stands for the text with the needles */
    char *prefix;   /* how the answer begins; part of a prompt of plain text */
    char *type;     /* what {type_needle_v} stands for: "numbers" */
};

struct wording {
    struct words words[FAMILIES][NUMBERS]; /* both numbers of a family may be the same */
    char *needle[FAMILIES];                /* NULL for families without needles */
    int64_t max_tokens[FAMILIES];          /* largest number of tokens of an answer */
};

/* path NULL: our own wording. What a file does not word is taken from ours. The caller calls
 * wording_release. */
int wording_open(struct wording *w, const char *path, struct fail *why) MUST_USE;
void wording_release(struct wording *w);

#endif
