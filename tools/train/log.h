/* log.h - trainer_log.jsonl: one JSON object for each logging step, flushed. */
#ifndef LONGQLORA_LOG_H
#define LONGQLORA_LOG_H

#include "trainer.h"

struct log {
    FILE *file;
    double started;
    uint64_t tokens; /* since the start of this process */
    int64_t first_step;
};

/* Keeps the lines up to the step that the run goes on from. */
int log_open(struct log *log, const char *directory, int64_t step, struct fail *why) MUST_USE;
/* Adds a line, and starts the next interval's averages. */
int log_line(struct log *log, struct trainer *t, const struct step_result *r, char *shown,
             size_t size, struct fail *why) MUST_USE;
int log_close(struct log *log, struct fail *why) MUST_USE;

#endif
