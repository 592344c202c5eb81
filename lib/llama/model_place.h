/* model_place.h - recognises what a path holds that should have been a model.
 *
 * Users pass what they have: Meta's own checkpoint, a hub name, a folder of the hub's
 * cache, an adapter. If such a thing is recognised by its name or first bytes, the message says
 * what it is and what to do.
 */
#ifndef LONGQLORA_MODEL_PLACE_H
#define LONGQLORA_MODEL_PLACE_H

#include "lib/common/fail.h"

/* Fails if there cannot be a model at this path, and says what is there. "-" and special files may
 * be streams, so they pass. Opens no weights. */
int model_place_check(const char *path, struct fail *why) MUST_USE;
/* Fails for a model's directory without weights in a supported format, and says what it has
 * instead. Returns -1. */
int model_place_name_weights(const char *directory, struct fail *why);

#endif
