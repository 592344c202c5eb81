/* fit.h - finds how much filler makes a finished prompt exactly as long as it is to be.
 */
#ifndef LONGQLORA_NEEDLE_FIT_H
#define LONGQLORA_NEEDLE_FIT_H

#include "tools/needle/finish.h"

/* Makes the prompt of `tokens` tokens, which f then holds. Fails if the question alone is longer,
 * or if no text was found that gives exactly this number with this tokenizer; the message names the
 * nearest. */
int fit_make(struct finish *f, const struct problem *p, int64_t tokens, struct fail *why) MUST_USE;

#endif
