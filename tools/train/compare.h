/* compare.h - compares files that a replay wrote with those that a run had written.
 */
#ifndef LONGQLORA_TRAIN_COMPARE_H
#define LONGQLORA_TRAIN_COMPARE_H

#include "lib/common/fail.h"

#include <stddef.h>

/* Compares all files in the folder `made` with those of the same names in `kept`. Returns 1 if one
 * differs or is missing; text[size] gets the file's name and the part that differs:
 * "training_state: the array moment1, element 17". Of manifest.json the values are compared,
 * because its entries have no order. Returns -1 if a file of `made` cannot be read. */
int compare_folders(const char *made, const char *kept, char *text, size_t size,
                    struct fail *why) MUST_USE;

#endif
