/* model_place.h - recognises what a path holds if it is not a model.
 *
 * Users may give Meta's own checkpoint, a name on the hub, a folder of the hub's cache, or an
 * adapter. The name or the first bytes often show what it is. The message then says this, and what
 * to do.
 */
#ifndef LONGQLORA_MODEL_PLACE_H
#define LONGQLORA_MODEL_PLACE_H

#include "lib/common/fail.h"

/* Fails if there cannot be a model at this path, and says what is there. "-" and special files may
 * be streams, so they are accepted. No weights are opened. */
int model_place_check(const char *path, struct fail *why) MUST_USE;
/* Always fails, with -1. The message says that a model's directory has no weights in a supported
 * format, and what it has instead. */
int model_place_name_weights(const char *directory, struct fail *why);

#endif
