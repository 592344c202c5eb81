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
    enum token_format from, to;
    const char *tokenizer;  /* the tokenizer of a file of raw token ids */
    uint64_t shard, shards; /* --shard; 0: the shard has no number */
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
/* Copies the samples of the stream `input` to the output, in the form that --to names. A stream
 * gets only the samples that have a target. */
int job_copy(struct job *j, const char *input, struct fail *why) MUST_USE;
/* Writes the lengths of the documents of the tokens stream `input`, one shard (lengths.h). */
int job_lengths(struct job *j, const char *input, struct fail *why) MUST_USE;
/* Fails unless the output may become the folder of job_draw. Call it before any work. */
int job_check_draw(const struct job *j, struct fail *why) MUST_USE;
/* Draws documents from the lengths in `files`, which NULL ends, and writes a folder with the lines
 * of each shard (drawn_lines.h). */
int job_draw(struct job *j, const char **files, struct fail *why) MUST_USE;
void job_release(struct job *j);

/* True if documents are drawn, and not all of them taken. */
bool job_draws(const struct job *j);
/* True if a document of that many tokens is within the bounds. */
bool job_takes(const struct job *j, uint64_t tokens);
/* Adds a document that was drawn to the counts. */
void job_count_drawn(struct job *j, const char *source, uint64_t tokens);
/* Counts the tokens of a document that is not packed. `job` is a struct job. */
void job_leave_out(void *job, uint64_t tokens);
/* Appends the options that change the samples. */
void job_put_options(const struct job *j, struct msgpack_map *made);
/* Fails unless the parts of a draw were drawn with the options of this job. `header` is that of the
 * first part. */
int job_check_drawn(const struct job *j, const msgpack_object *header, struct fail *why) MUST_USE;

#endif
