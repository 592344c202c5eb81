/* fuzz.h - what the fuzz targets share. Each gives libFuzzer's function; run_corpus.c runs
 * it over files instead.
 */
#ifndef LONGQLORA_FUZZ_H
#define LONGQLORA_FUZZ_H

#include "lib/tensorfile/tensor_file.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A path that reads as these bytes until the next call with that number (0 or 1). */
const char *fuzz_file(int number, const void *data, size_t size);
/* A failure must say why, in one of the ways that programs exit with. */
void fuzz_check_failure(const struct fail *why);
/* Tensors lie in the file, have as many bytes as their shapes say, and are found by name. */
void fuzz_check_tensors(const struct tensor_file *file);

#endif
