/* log.h - writes trainer_log.jsonl: one JSON object for each logging step and each evaluation. Each
 * line is flushed immediately. The same numbers go to TensorBoard events if the recipe asks for
 * them.
 */
#ifndef LONGQLORA_LOG_H
#define LONGQLORA_LOG_H

#include "tools/train/events.h"
#include "tools/train/growing.h"
#include "tools/train/trainer.h"

enum { LOG_SHOWN = 256 + EVAL_FILES_MAX * 128 };

struct log {
    FILE *file;
    struct run_folder *folder; /* borrowed */
    char name[GROWING_NAME];   /* of the file in the folder */
    double missing;            /* see growing_keep */
    bool told_failure;
    double started;
    /* Totals of this process. Times include only steps, no evaluations and no checkpoints. */
    uint64_t tokens;
    double seconds;
    int64_t first_step;
    double interval;       /* seconds that the steps since the last line took */
    int64_t steps;         /* number of the steps since the last line */
    double before;         /* seconds that the steps of earlier processes took, read from the log */
    struct events *events; /* NULL if the recipe does not ask for events */
};

/* Fails if a line of the log cannot be from a run, and names the line. The last line is not
 * checked, because a crash may have cut it. Succeeds if there is no log. */
int log_check(const char *directory, struct fail *why) MUST_USE;
/* Opens the log and keeps the lines up to the step from which the run resumes. */
int log_open(struct log *log, struct trainer *t, struct fail *why) MUST_USE;
/* Counts a step, its time and its tokens. */
void log_step(struct log *log, const struct step_result *r, double seconds);
/* Writes which steps ran under which schedule, if there was more than one. */
int log_schedules(struct log *log, const struct trainer *t, struct fail *why) MUST_USE;
/* Writes a line and starts the averages of the next interval. */
int log_line(struct log *log, struct trainer *t, const struct step_result *r, char *shown,
             size_t size, struct fail *why) MUST_USE;
/* Writes the losses of all files, e [eval_count], on one line of the log. shown[size] gets the text
 * for a message. LOG_SHOWN bytes are enough. */
int log_evaluation(struct log *log, const struct trainer *t, const struct evaluation *e,
                   double seconds, bool is_best, char *shown, size_t size,
                   struct fail *why) MUST_USE;
int log_close(struct log *log, struct fail *why) MUST_USE;

#endif
