/* parts.h - the adapters of the command line, written DIR or DIR:WEIGHT, and their combined effect
 * on the base.
 */
#ifndef LONGQLORA_PARTS_H
#define LONGQLORA_PARTS_H

#include "tools/merge/merger.h"

/* The weight is the number behind the last colon, unless a file with the whole name exists. The
 * path of such a file is written with a weight, as in a:b:1. */
struct part_word {
    char *path; /* owned */
    double weight;
};
int part_parse(struct part_word *p, const char *word, struct fail *why) MUST_USE;

struct parts {
    struct merge_adapter at[MERGE_ADAPTERS_MAX];
    /* [1] and later; the first adapter belongs to struct loaded */
    struct adapter adapters[MERGE_ADAPTERS_MAX];
    struct fit fits[MERGE_ADAPTERS_MAX];
    int count;
    bool checks_base; /* the value for merger_job.checks_base */
};

/* Opens every adapter but the first, which l already has, and fits them to the base. l's config and
 * weights become those of the result. force_base: accepts adapters of another base. The caller
 * releases the parts, also after a failure. */
int parts_open(struct parts *p, struct loaded *l, const struct part_word *words, int count,
               bool force_base, const char *base_path, struct fail *why) MUST_USE;
void parts_close(struct parts *p);

#endif
