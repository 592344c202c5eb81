/* fuzz.h - shared by the fuzz targets. Each target defines libFuzzer's function. run_corpus.c calls
 * it with files instead.
 */
#ifndef LONGQLORA_FUZZ_H
#define LONGQLORA_FUZZ_H

#include "lib/tensorfile/tensor_file.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns the path of a file with these bytes. It is valid until the next call with the same number
 * (0 or 1). */
const char *fuzz_file(int number, const void *data, size_t size);
/* Checks that a failure has a message and one of the programs' exit statuses. */
void fuzz_check_failure(const struct fail *why);
/* Checks that the tensors lie in the file, have as many bytes as their shapes say, and are found by
 * name. */
void fuzz_check_tensors(const struct tensor_file *file);

#endif
