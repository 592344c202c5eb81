/* generation_config.h - tells the user what the model's generation_config.json asks for. Of this
 * file only the end tokens are used (generator.h). transformers and vLLM use all of it, so that
 * their text may be another one, even without draws.
 */
#ifndef LONGQLORA_GENERATION_CONFIG_H
#define LONGQLORA_GENERATION_CONFIG_H

#include "tools/generate/sampler.h"

/* Prints a line with the options that the file asks for, as far as `how` has none of its own, and
 * with the settings that are not supported. Does nothing if there is no such file. */
int generation_config_tell(const char *model, const struct sampling *how,
                           struct fail *why) MUST_USE;

#endif
