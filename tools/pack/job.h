/* job.h - one packing: documents are filtered, drawn, cut, written and counted. */
#ifndef LONGQLORA_JOB_H
#define LONGQLORA_JOB_H

#include "tools/pack/packer.h"
#include "tools/pack/reservoir.h"
#include "tools/pack/summary.h"

struct job {
    /* what is asked for */
    enum strategy strategy;
    uint64_t context, min_tokens, max_tokens; /* max 0: no limit */
    struct draw draw;
    const char *output, *summary_path; /* NULL: no summary as a file */
    enum view from, to;
    const char *tokenizer; /* for bare numbers */
    /* what becomes of it */
    struct sample_info info;
    struct summary summary;
    uint64_t drawn, *quota_drawn; /* documents; of each quota */
    uint64_t longest;             /* of all documents */
    struct packer packer;
    struct writer *out;
};

/* Packs the tokens of `input`. */
int job_pack(struct job *j, const char *input, struct fail *why) MUST_USE;
/* Writes the samples of `input` again, in the view asked for. */
int job_copy(struct job *j, const char *input, struct fail *why) MUST_USE;
void job_release(struct job *j);

#endif
