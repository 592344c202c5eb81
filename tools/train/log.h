/* log.h - trainer_log.jsonl: one JSON object for each logging step and each evaluation,
 * flushed; and the same numbers as TensorBoard events where the recipe asks for them. */
#ifndef LONGQLORA_LOG_H
#define LONGQLORA_LOG_H

#include "tools/train/events.h"
#include "tools/train/trainer.h"

struct log {
    FILE *file;
    double started;
    /* Of this process; seconds are those of steps, without evaluations and checkpoints. */
    uint64_t tokens;
    double seconds;
    int64_t first_step;
    double interval;       /* seconds of the steps since the last line */
    int64_t steps;         /* their number */
    double before;         /* seconds of steps of the processes before, as the log has them */
    struct events *events; /* NULL: not asked for */
};

/* Fails, naming the first line that a run's log has not, unless there is no log. */
int log_check(const char *directory, struct fail *why) MUST_USE;
/* Keeps the lines up to the step that the run goes on from. */
int log_open(struct log *log, struct trainer *t, struct fail *why) MUST_USE;
/* Counts a step: what it took, and its tokens. */
void log_step(struct log *log, const struct step_result *r, double seconds);
/* Says which steps ran under which schedule, where that is not one. */
int log_schedules(struct log *log, const struct trainer *t, struct fail *why) MUST_USE;
/* Adds a line, and starts the next interval's averages. */
int log_line(struct log *log, struct trainer *t, const struct step_result *r, char *shown,
             size_t size, struct fail *why) MUST_USE;
int log_evaluation(struct log *log, const struct trainer *t, const struct evaluation *e,
                   double seconds, bool is_best, char *shown, size_t size,
                   struct fail *why) MUST_USE;
int log_close(struct log *log, struct fail *why) MUST_USE;

#endif
