/* compare.h - compares files that a replay wrote with those that a run had written.
 */
#ifndef LONGQLORA_TRAIN_COMPARE_H
#define LONGQLORA_TRAIN_COMPARE_H

#include "lib/common/fail.h"

#include <stddef.h>

/* What is found of two folders or files. */
enum comparison { COMPARED_EQUAL, COMPARED_CHANGED, COMPARED_ABSENT, COMPARED_UNREADABLE };

/* Compares all files in the folder `made` with those of the same names in `kept`, up to the first
 * that is not equal. Returns what is found of it (enum comparison). text[size] gets the file's name
 * and the part that differs, "training_state: the array moment1, element 17", or what is wrong with
 * the file. Of manifest.json the values are compared, because its entries have no order. Returns -1
 * if a file of `made` cannot be read. */
int compare_folders(const char *made, const char *kept, char *text, size_t size,
                    struct fail *why) MUST_USE;

#endif
