/* run.h - makes the merged model and reports on it.
 */
#ifndef LONGQLORA_MERGE_RUN_H
#define LONGQLORA_MERGE_RUN_H

#include "tools/merge/options.h"

/* Dies if something fails. */
void run_merge(const struct options *o, const struct loaded *l, const struct parts *parts,
               struct companions *companions);
/* Reports how many tensors were changed, and how much. */
void run_print_merged(const struct options *o, const struct merger *m);

#endif
