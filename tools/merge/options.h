/* options.h - the command line of merge.
 */
#ifndef LONGQLORA_MERGE_OPTIONS_H
#define LONGQLORA_MERGE_OPTIONS_H

#include "lib/cli/opt.h"
#include "lib/llama/companions.h"
#include "model/loaded.h"
#include "tools/merge/parts.h"

enum { OPTIONS_SHARD_MB = 5000 }; /* the default of --max-shard-size */

struct options {
    struct loaded_options loaded;
    struct opt_list adapters;
    struct part_word words[MERGE_ADAPTERS_MAX]; /* one for each adapter */
    const char *output, *to, *tokenizer, *dtype, *config_style, *max_positions;
    int64_t max_shard_mb;
    struct companions_place companions; /* where tokenizer and licence files are copied from */
};

/* Checks the options before any file is read. Dies if options are missing or out of range, or if
 * the tokenizer does not exist. Fills o->words. */
void options_check(struct options *o);
/* Finds and reads the tokenizer and licence files (o->companions), and declares everything that is
 * read and written (file_guard.h). The caller frees the result with companions_free. */
struct companions *options_declare_files(struct options *o);

#endif
