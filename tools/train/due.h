/* due.h - after which updates a run logs, evaluates and saves: as Hugging Face's Trainer has it
 * (DefaultFlowCallback of transformers 5.24), but that updates run on over the ends of passes.
 */
#ifndef LONGQLORA_DUE_H
#define LONGQLORA_DUE_H

#include <stdbool.h>
#include <stdint.h>

struct trainer;

enum due { DUE_LOG, DUE_EVALUATION, DUE_CHECKPOINT };

/* Updates between two of a kind; 0: the last one only. */
struct due_steps {
    int64_t log, evaluation, checkpoint;
};

/* Makes counts of shares, by the number of all updates; fills t->due. */
void due_plan(struct trainer *t);
/* After the update that t->state counts. */
bool due_is(const struct trainer *t, enum due what);

#endif
