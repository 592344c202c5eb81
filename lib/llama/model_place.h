/* model_place.h - what stands where a model was to be.
 *
 * People name what they have: a GGUF file, Meta's own checkpoint, a name of the hub or a folder of
 * its cache, an adapter. What is known by its name or its first bytes is named here, with what to
 * do.
 */
#ifndef LONGQLORA_MODEL_PLACE_H
#define LONGQLORA_MODEL_PLACE_H

#include "lib/common/fail.h"

/* Fails, saying what it is, if a model cannot lie there. "-" and what is no file or folder may be a
 * stream. Opens no weights. */
int model_place_check(const char *path, struct fail *why) MUST_USE;
/* A model's directory without weights that are read here: says what it has instead. Returns -1. */
int model_place_name_weights(const char *directory, struct fail *why);

#endif
