/* model_guard.h - a model, an adapter or a tokenizer as an input that no output may be. */
#ifndef LONGQLORA_LLAMA_MODEL_GUARD_H
#define LONGQLORA_LLAMA_MODEL_GUARD_H

#include "lib/common/fail.h"

/* Declares it as file_guard.h does: a directory and the files in it that programs read, whoever
 * made them and whether they are there yet; or a file; or "-". */
int model_guard_input(const char *option, const char *path, struct fail *why) MUST_USE;

#endif
