/* job.h - one run of pack: filters, draws, cuts, writes and counts documents.
 */
#ifndef LONGQLORA_JOB_H
#define LONGQLORA_JOB_H

#include "tools/pack/packer.h"
#include "tools/pack/reservoir.h"
#include "tools/pack/summary.h"

struct job {
    /* input of the job */
    enum strategy strategy;
    uint64_t context, min_tokens, max_tokens; /* max_tokens 0: no limit */
    struct draw draw;
    const char *output, *summary_path; /* summary_path NULL: no summary file */
    enum view from, to;
    const char *tokenizer; /* the tokenizer of a file of raw token ids */
    /* state and results of the job */
    struct sample_info info;
    struct summary summary;
    uint64_t drawn, *quota_drawn; /* documents drawn, in total and of each quota */
    uint64_t longest;             /* tokens of the longest document */
    struct packer packer;
    struct writer *out;
};

/* Packs the documents of the tokens stream `input` into samples. */
int job_pack(struct job *j, const char *input, struct fail *why) MUST_USE;
/* Copies the samples of the stream `input` to the output, in the form that --to names. */
int job_copy(struct job *j, const char *input, struct fail *why) MUST_USE;
void job_release(struct job *j);

#endif
