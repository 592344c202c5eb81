/* options.h - the command line of generate.
 */
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

/* Dies if options are missing, exclude each other or are out of range. Call it before anything is
 * read. */
void options_check(const struct options *o);
/* Declares the files that are read and written (file_guard.h). Standard output is one of them,
 * because it may be appended to an input. */
void options_declare_files(const struct options *o);
/* Dies if an option belongs to a mode that was not chosen. Warns of options that have no effect. */
void options_check_unused(const struct options *o);

#endif
