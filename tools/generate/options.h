/* options.h - what generate's command line asks for. */
#ifndef LONGQLORA_GENERATE_OPTIONS_H
#define LONGQLORA_GENERATE_OPTIONS_H

#include "lib/cli/opt.h"
#include "model/loaded.h"
#include "tools/generate/sampler.h"

struct options {
    struct loaded_options loaded;
    struct sampling sampling;
    const char *tokenizer, *prompt, *prompt_file, *format, *chat, *system, *device;
    int64_t max_tokens, context;
    struct opt_list stops;
    bool no_bos, parse_special, exact_cache, verbose, dry_run;
};

/* Dies, before anything is read, of options that are missing, exclude each other or are out of
 * range. */
void options_check(const struct options *o);
/* Declares what is read and written (file_guard.h): what is said may be appended to a file. */
void options_declare_files(const struct options *o);
/* Dies of options that are for others than those that are given; warns of those that change
 * nothing. */
void options_check_unused(const struct options *o);

#endif
