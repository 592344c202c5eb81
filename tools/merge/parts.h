/* parts.h - the adapters of the command line, written DIR or DIR:WEIGHT, and their combined effect
 * on the base.
 */
#ifndef LONGQLORA_PARTS_H
#define LONGQLORA_PARTS_H

#include "tools/merge/merger.h"

/* An adapter's path and weight. The weight is the number after the last colon. It is 1 if there is
 * no colon, or if a file with the whole name exists. A weight can follow a path that contains a
 * colon: a:b:1. */
struct part_word {
    char *path; /* the caller frees it */
    double weight;
    bool has_weight; /* the word has a weight */
};
int part_parse(struct part_word *p, const char *word, struct fail *why) MUST_USE;

struct parts {
    struct merge_adapter at[MERGE_ADAPTERS_MAX];
    /* used from index 1 on; the first adapter is in struct loaded */
    struct adapter adapters[MERGE_ADAPTERS_MAX];
    struct fit fits[MERGE_ADAPTERS_MAX];
    int count;
    bool checks_base; /* the value for merger_job.checks_base */
};

/* Opens every adapter but the first, which *l already has, and checks that they fit the base, and
 * that two with the same bytes both have a weight, because one without was hardly meant twice. The
 * config and weights of *l become those of the result. force_base: accepts adapters that were
 * trained on another base. The caller releases the parts, also after a failure. */
int parts_open(struct parts *p, struct loaded *l, const struct part_word *words, int count,
               bool force_base, const char *base_path, struct fail *why) MUST_USE;
void parts_close(struct parts *p);

#endif
