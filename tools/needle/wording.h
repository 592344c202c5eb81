/* wording.h - the texts around the needles: what comes before and after the context, how an answer
 * begins, and the needle itself. The texts are our own, or those of a file.
 *
 * A file is a JSON object in the form of RULER's scripts/data/synthetic/constants.py (TASKS) as
 * JSON, with an additional key "needle", the sentence in niah.py or variable_tracking.py.
 */
#ifndef LONGQLORA_NEEDLE_WORDING_H
#define LONGQLORA_NEEDLE_WORDING_H

#include "lib/common/fail.h"

#include <stdint.h>

/* Tasks of one family have the same wording. */
enum family { FAMILY_NEEDLE, FAMILY_TRACKING, FAMILY_COMMON, FAMILY_FREQUENT, FAMILIES };

/* Whether the wording is for several answers or for one. For one answer, RULER uses the
 * singular. */
enum number { NUMBER_MANY, NUMBER_ONE, NUMBERS };

struct words {
    char *template; /* {context} is the place of the text with the needles */
    char *prefix;   /* how the answer begins; a prompt without a chat template ends with it */
    char *type;     /* the value of {type_needle_v}, such as "numbers" */
};

struct wording {
    struct words words[FAMILIES][NUMBERS]; /* the two wordings of a family may be equal */
    char *needle[FAMILIES];                /* NULL for families without needles */
    int64_t max_tokens[FAMILIES];          /* largest number of tokens of an answer */
    bool has_prefix;                       /* as for wording_open */
};

/* Reads a wording. path NULL: our own. Texts that a file lacks are taken from ours. has_prefix: the
 * prompts end with the prefix, so it may say what is asked for. The caller calls
 * wording_release. */
int wording_open(struct wording *w, const char *path, bool has_prefix, struct fail *why) MUST_USE;
void wording_release(struct wording *w);

#endif
