/* plan.h - plans the memory of a run before its first step.
 */
#ifndef LONGQLORA_PLAN_H
#define LONGQLORA_PLAN_H

#include "tools/train/trainer.h"

/* Makes the choices that the recipe leaves to the free memory of device and host: where the layers'
 * inputs and the moments lie, and then how many layers store their activations. No choice changes a
 * bit of the result. If nothing fits, the setup needs as little as possible. */
int plan_settle(const struct trainer *t, struct model_setup *setup, struct fail *why) MUST_USE;

/* Prints what the run's device needs memory for and how much, the free memory, the longest context
 * that fits, and for GPUs of usual sizes whether the run fits. If the device was not chosen by
 * name, it also prints the plan for a GPU, even if this machine has none. */
int plan_print(const struct trainer *t, bool is_auto, FILE *to, struct fail *why) MUST_USE;

/* Prints what the run takes of the free memory and which activations it stores. Fails if it needs
 * more than is free, and names both numbers and the context that would fit. */
int plan_check(const struct trainer *t, void (*report)(const char *text),
               struct fail *why) MUST_USE;

#endif
