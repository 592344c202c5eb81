/* parts.h - the adapters of a command line, DIR or DIR:WEIGHT each, and what they make of the base
 * together.
 */
#ifndef LONGQLORA_PARTS_H
#define LONGQLORA_PARTS_H

#include "tools/merge/merger.h"

/* A number behind the last colon, unless a file of the whole name is there: such a path is written
 * with its weight, a:b:1. */
struct part_word {
    char *path; /* owned */
    double weight;
};
int part_parse(struct part_word *p, const char *word, struct fail *why) MUST_USE;

struct parts {
    struct merge_adapter at[MERGE_ADAPTERS_MAX];
    struct adapter
        adapters[MERGE_ADAPTERS_MAX]; /* of at[1] and on: the first is the loaded one's */
    struct fit fits[MERGE_ADAPTERS_MAX];
    int count;
    bool checks_base; /* merger_job's */
};

/* Opens all but the first adapter, which l has, and fits them; l's config and weights become those
 * of the result. force_base: of any base. Also on failure the caller releases the parts. */
int parts_open(struct parts *p, struct loaded *l, const struct part_word *words, int count,
               bool force_base, const char *base_path, struct fail *why) MUST_USE;
void parts_close(struct parts *p);

#endif
