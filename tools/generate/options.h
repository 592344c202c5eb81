/* options.h - the command line of generate.
 */
#ifndef LONGQLORA_GENERATE_OPTIONS_H
#define LONGQLORA_GENERATE_OPTIONS_H

#include "lib/cli/launch.h"
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
    struct ranks *ranks; /* the processes that share the model's work, perhaps only one */
    int64_t asked_ranks, rank_timeout; /* the values of --ranks and --rank-timeout */
    int64_t parts;                     /* how many ranks there are, or are planned for */
    int64_t segments;                  /* segments of a piece of the text; 1: a piece is not cut */
    int threads;                       /* 0: one for each CPU */
};

/* The rows of the table of options that choose tokens. s is a struct sampling. */
/* clang-format off */
#define SAMPLING_OPTIONS(s)                                                                        \
    { "temperature", 't', OPT_REAL, &(s).temperature, "T",                                         \
      "randomness of the draws; 0: always the most likely token", 0 },                             \
    { "top-k", 0, OPT_COUNT, &(s).top_k, "K",                                                      \
      "draw from the K most likely tokens; 0: from all", 0 },                                      \
    { "top-p", 0, OPT_REAL, &(s).top_p, "P",                                                       \
      "draw from the fewest tokens whose probabilities add up to P", 0 },                          \
    { "min-p", 0, OPT_REAL, &(s).min_p, "P",                                                       \
      "draw from tokens at least P times as likely as the most likely one", 0 },                   \
    { "repetition-penalty", 0, OPT_REAL, &(s).repetition, "R",                                     \
      "make tokens that are already in the text less likely; 1: off", 0 },                         \
    { "seed", 's', OPT_COUNT, &(s).seed, "N", "seed of the draws", OPT_ANY_COUNT }
/* clang-format on */

/* Is this rank 0? Only rank 0 reads prompts and writes answers. */
static inline bool options_is_first(const struct options *o)
{
    return !ranks_place(o->ranks)->rank;
}

/* Dies if options are missing, exclude each other or are out of range. Call it before anything is
 * read. */
void options_check(const struct options *o);
/* Declares the files that are read and written (file_guard.h). Standard output is one of them,
 * because it may be appended to an input. */
void options_declare_files(const struct options *o);
/* Dies if an option belongs to a mode that was not chosen. Warns of options that have no effect. */
void options_check_unused(const struct options *o);

#endif
