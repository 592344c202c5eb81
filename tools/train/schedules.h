/* schedules.h - which steps of a run ran under which schedule.
 *
 * Most schedules depend on how many steps a run is to have. A run that goes on to more steps than
 * it was begun with, or to fewer, is the same as one that had the new number from the start only if
 * that changes no rate of a step that is done. Else its earlier steps are remembered, in the
 * checkpoint and in the adapter, as
 *
 *     [{"from": 1, "to": 6, "lr_scheduler_type": "linear", "steps": 6, "warmup_steps": 0}, …]
 */
#ifndef LONGQLORA_SCHEDULES_H
#define LONGQLORA_SCHEDULES_H

#include "tools/train/trainer.h"

/* Of a run that goes on from `then`. Fails if it has done more steps than it is to have now. */
int schedules_go_on(struct trainer *t, const struct run_state *then, struct fail *why) MUST_USE;
/* All of them, the present one too; NULL if there was never another. The caller decrefs. */
json_t *schedules_to_json(const struct trainer *t, struct fail *why);
/* "steps 1-6 ran under linear over 6 steps (warm-up 0), …" */
void schedules_describe(const struct trainer *t, char *text, size_t size);

#endif
