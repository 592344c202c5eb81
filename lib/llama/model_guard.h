/* model_guard.h - declares a model, an adapter or a tokenizer as an input, so that no output may
 * overwrite it. */
#ifndef LONGQLORA_LLAMA_MODEL_GUARD_H
#define LONGQLORA_LLAMA_MODEL_GUARD_H

#include "lib/common/fail.h"

/* Declares `path` as an input, as file_guard.h describes. path is a directory, a file or "-". In a
 * directory, all files that programs may read are protected, even those that do not exist yet.
 * option: see file_guard.h. */
int model_guard_input(const char *option, const char *path, struct fail *why) MUST_USE;

#endif
