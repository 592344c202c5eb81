/* findings.h - what `train --verify` prints on standard output: a line for each finding, or one
 * JSON object (docs/formats/proof.md).
 */
#ifndef LONGQLORA_TRAIN_FINDINGS_H
#define LONGQLORA_TRAIN_FINDINGS_H

#include "tools/train/kept.h"

struct findings {
    bool as_json;
    json_t *stretches, *problems;
    int verified, failed;
    int left; /* checkpoints that the run has left (kept_is_left) and that cannot be replayed */
    enum status status; /* STATUS_DONE if all was verified */
    struct fail first;  /* the first problem */
};

void findings_begin(struct findings *r, bool as_json);
/* Something is damaged or does not fit, apart from the stretches. */
void findings_problem(struct findings *r, const struct fail *why);
/* The steps after `from`, up to this checkpoint or result. problem: NULL if they were verified. */
void findings_stretch(struct findings *r, const struct kept *to, int64_t from,
                      const struct fail *problem);
/* The steps up to a checkpoint that the run has left. They are not verified, but the run's result
 * does not depend on them. */
void findings_left(struct findings *r, const struct kept *to, int64_t from);
/* Writes the end of the report. `run` is the folder. */
int findings_end(struct findings *r, const char *run, struct fail *why) MUST_USE;

#endif
