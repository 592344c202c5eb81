/* fit.h - finds how much filler gives a finished prompt exactly the wanted number of tokens.
 */
#ifndef LONGQLORA_NEEDLE_FIT_H
#define LONGQLORA_NEEDLE_FIT_H

#include "tools/needle/finish.h"

/* Makes a prompt of `tokens` tokens in f. Fails if the question alone is longer, or if no text has
 * exactly this number with this tokenizer. The message gives the nearest number. */
int fit_make(struct finish *f, const struct problem *p, int64_t tokens, struct fail *why) MUST_USE;

#endif
