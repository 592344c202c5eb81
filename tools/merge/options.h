/* options.h - what merge's command line asks for. */
#ifndef LONGQLORA_MERGE_OPTIONS_H
#define LONGQLORA_MERGE_OPTIONS_H

#include "lib/cli/opt.h"
#include "lib/llama/companions.h"
#include "model/loaded.h"
#include "tools/merge/parts.h"

struct options {
    struct loaded_options loaded;
    struct opt_list adapters;
    struct part_word words[MERGE_ADAPTERS_MAX]; /* of the adapters */
    const char *output, *tokenizer, *dtype, *config_style, *max_positions;
    int64_t max_shard_mb;
};

/* Parses the adapters into words; dies, before anything is read, of options that are missing or out
 * of range, and of a tokenizer that is not there. */
void options_check(struct options *o);
/* Where tokenizer and licence files come from. An adapter that brings its own tokenizer may have
 * grown it: its files go along, not the base's. Of several adapters none is asked. */
struct companions_place options_companions(const struct options *o);
/* Reads these files, and declares all that is read and written (file_guard.h). The caller frees the
 * result with companions_free. */
struct companions *options_declare_files(const struct options *o);

#endif
