/* due.h - decides after which updates a run logs, evaluates and saves, as Hugging Face's Trainer
 * does (DefaultFlowCallback of transformers 5.24). There are two differences: an update may contain
 * samples of two passes, and the last update is always logged, unless logging_strategy is no.
 */
#ifndef LONGQLORA_DUE_H
#define LONGQLORA_DUE_H

#include <stdbool.h>
#include <stdint.h>

struct trainer;

enum due { DUE_LOG, DUE_EVALUATION, DUE_CHECKPOINT };

/* How many updates there are from one log line, evaluation or checkpoint to the next; 0: only after
 * the last update. */
struct due_steps {
    int64_t log, evaluation, checkpoint;
};

/* Fills t->due. Values of the recipe below 1 are shares of all updates, and are turned into
 * counts. */
void due_plan(struct trainer *t);
/* True if the run is evaluated before its first update. */
bool due_is_at_start(const struct trainer *t);
/* True if `what` is due after this update. due_is: after the update that t->state counts. */
bool due_at(const struct trainer *t, int64_t step, enum due what);
bool due_is(const struct trainer *t, enum due what);

#endif
