/* run.h - the merged model is made, and what came of it told. */
#ifndef LONGQLORA_MERGE_RUN_H
#define LONGQLORA_MERGE_RUN_H

#include "tools/merge/options.h"

/* Dies of what goes wrong. */
void run_merge(const struct options *o, const struct loaded *l, const struct parts *parts,
               struct companions *companions);

#endif
