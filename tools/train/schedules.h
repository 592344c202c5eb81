/* schedules.h - records which steps of a run used which schedule.
 *
 * Most learning-rate schedules depend on the total number of steps. If a run is resumed with
 * another total, the finished steps may have had other rates than the new schedule gives them. Then
 * the earlier schedule is recorded, in the checkpoint and in the adapter, as
 *
 *     [{"from": 1, "to": 6, "lr_scheduler_type": "linear", "steps": 6, "warmup_steps": 0}, …]
 */
#ifndef LONGQLORA_SCHEDULES_H
#define LONGQLORA_SCHEDULES_H

#include "tools/train/trainer.h"

/* Sets the schedules of a run that resumes from `then`. Fails if `then` has done more steps than
 * the recipe asks for. */
int schedules_go_on(struct trainer *t, const struct run_state *then, struct fail *why) MUST_USE;
/* Returns all schedules, including the present one. The caller calls json_decref. Returns NULL if
 * the run has had only one schedule, and also on failure, for which it sets *why. */
json_t *schedules_to_json(const struct trainer *t, struct fail *why);
/* Writes for example "steps 1-6 ran under linear over 6 steps (warm-up 0), …". */
void schedules_describe(const struct trainer *t, char *text, size_t size);

#endif
