/* plan.h - plans the memory of a run before its first step.
 */
#ifndef LONGQLORA_PLAN_H
#define LONGQLORA_PLAN_H

#include "tools/train/trainer.h"

/* Makes the choices that the recipe leaves to the free memory of device and host: where the layers'
 * inputs, the outputs of attention and the moments are kept, and how many layers store all their
 * activations or the output of attention. No choice changes a bit of the result. If nothing fits,
 * the setup becomes the one with the least memory. */
int plan_settle(const struct trainer *t, struct model_setup *setup, struct fail *why) MUST_USE;

/* Prints the plan of the memory: how much each part of the run needs on its device, and how much is
 * free. It also prints the longest context that fits, and for a GPU also which usual sizes of GPUs
 * the run fits. If the user did not choose the device by name, and it is the CPU, the plan for a
 * GPU follows, even if this machine has none. */
int plan_print(const struct trainer *t, bool is_auto, FILE *to, struct fail *why) MUST_USE;

/* Prints how much of the free memory the run takes, and which activations it stores. Fails if
 * the run needs more memory than is free; the message has both numbers and the context that
 * would fit. */
int plan_check(const struct trainer *t, void (*report)(const char *text),
               struct fail *why) MUST_USE;

#endif
