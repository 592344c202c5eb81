/* options.h - the command line of pack.
 */
#ifndef LONGQLORA_PACK_OPTIONS_H
#define LONGQLORA_PACK_OPTIONS_H

#include "lib/cli/opt.h"
#include "tools/pack/job.h"

struct options {
    int64_t context, min_tokens, max_tokens, samples, seed;
    const char *output, *strategy, *summary, *from, *to, *tokenizer, *upsample, *shard;
    struct opt_list quotas;
    bool lengths, draw;
};

/* Dies if options exclude each other or have no effect. Call it before input is read. */
void options_check(const struct options *o, const char **files);
/* Fills the job from the options, except for fields that are set when the input is read. Dies if an
 * option cannot be parsed. The caller frees draw.quotas. */
void options_job(const struct options *o, struct job *j);
/* Declares the files that are read and written (file_guard.h). `files`: the operands, which NULL
 * ends. */
void options_declare_files(const struct options *o, const struct job *j, const char **files);

#endif
