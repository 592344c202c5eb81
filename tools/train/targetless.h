/* targetless.h - finds samples without a target (lib/stream/targets.h) before a run begins. pack
 * makes none, but another program may.
 */
#ifndef LONGQLORA_TARGETLESS_H
#define LONGQLORA_TARGETLESS_H

#include "tools/train/trainer.h"

/* Fails if no sample of an eval_file has a target. Reads up to the first sample that has one. */
int targetless_check_eval(const struct trainer *t, const struct eval_file *f,
                          struct fail *why) MUST_USE;
/* Fails if no sample of some step has a target, because such a step has no loss. Reads each sample
 * that the run takes once, in the order of the file, so that the run does not end at such a step
 * after days. Reports samples without a target if each step has another sample with one. Called on
 * rank 0, while the others wait in sharing_meet. */
int targetless_check_steps(struct trainer *t, void (*report)(const char *text),
                           struct fail *why) MUST_USE;

#endif
