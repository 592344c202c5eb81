/* run.h - makes the merged model and prints what was changed.
 */
#ifndef LONGQLORA_MERGE_RUN_H
#define LONGQLORA_MERGE_RUN_H

#include "tools/merge/options.h"
#include "tools/merge/result.h"

/* Dies if something fails. */
void run_merge(const struct options *o, const struct loaded *l, const struct parts *parts,
               struct companions *companions);
/* Opens the merger of these tensors with the program's options. keeps_heads: as in merger_job. The
 * caller calls merger_close. Dies if it fails. */
void run_open_merger(struct merger *m, const struct options *o, const struct loaded *l,
                     const struct parts *parts, const struct result *r, bool keeps_heads);
/* Reports how many tensors were changed, and how much. */
void run_print_merged(const struct options *o, const struct merger *m);

#endif
