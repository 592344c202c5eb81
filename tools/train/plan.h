/* plan.h - the memory of a run, known before its first step. */
#ifndef LONGQLORA_PLAN_H
#define LONGQLORA_PLAN_H

#include "tools/train/trainer.h"

/* Settles what the recipe leaves to the memory that is free on the device and the host: where
 * layers' inputs and moments wait, then of how many layers activations are kept. None of it changes
 * a bit. What fits nowhere stays as small as it can be. */
int plan_settle(const struct trainer *t, struct model_setup *setup, struct fail *why) MUST_USE;

/* Every use, on the run's device and, if that was not chosen by name, on a GPU, whether one is here
 * or not; what is free and the longest context that fits in it; a verdict for the usual cards. */
int plan_print(const struct trainer *t, bool is_auto, FILE *to, struct fail *why) MUST_USE;

/* Says what the run takes of the memory that is free, and what it keeps; fails if it needs more,
 * naming both and what would fit. */
int plan_check(const struct trainer *t, void (*say)(const char *text), struct fail *why) MUST_USE;

#endif
