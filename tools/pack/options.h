/* options.h - what pack's command line asks for. */
#ifndef LONGQLORA_PACK_OPTIONS_H
#define LONGQLORA_PACK_OPTIONS_H

#include "lib/cli/opt.h"
#include "tools/pack/job.h"

struct options {
    int64_t context, min_tokens, max_tokens, samples, seed;
    const char *output, *strategy, *summary, *from, *to, *tokenizer, *upsample;
    struct opt_list quotas;
};

/* Dies, before anything is read, of options that exclude each other or would do nothing. */
void options_check(const struct options *o, const char **files);
/* The job that they ask for, but for what is read; dies of what cannot be parsed. The caller frees
 * draw.quotas. */
void options_job(const struct options *o, struct job *j);
/* Declares what is read and written (file_guard.h). */
void options_declare_files(const struct options *o, const char *input);

#endif
