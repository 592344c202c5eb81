/* log.h - trainer_log.jsonl: one JSON object for each logging step and each evaluation,
 * flushed; and the same numbers as TensorBoard events where the recipe asks for them. */
#ifndef LONGQLORA_LOG_H
#define LONGQLORA_LOG_H

#include "events.h"
#include "trainer.h"

struct log {
    FILE *file;
    double started;
    uint64_t tokens; /* since the start of this process */
    int64_t first_step;
    struct events *events; /* NULL: not asked for */
};

/* Keeps the lines up to the step that the run goes on from. */
int log_open(struct log *log, const struct recipe *recipe, int64_t step, struct fail *why) MUST_USE;
/* Adds a line, and starts the next interval's averages. */
int log_line(struct log *log, struct trainer *t, const struct step_result *r, char *shown,
             size_t size, struct fail *why) MUST_USE;
int log_evaluation(struct log *log, const struct trainer *t, const struct evaluation *e,
                   double seconds, char *shown, size_t size, struct fail *why) MUST_USE;
int log_close(struct log *log, struct fail *why) MUST_USE;

#endif
