/* make.h - writes prompts, or samples, with needles.
 */
#ifndef LONGQLORA_NEEDLE_MAKE_H
#define LONGQLORA_NEEDLE_MAKE_H

#include "tools/needle/options.h"

/* The command `needle make`. Dies if something fails. */
void make(const struct options *o, const struct plan *plan);

#endif
