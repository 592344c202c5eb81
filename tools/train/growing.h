/* growing.h - keeps a file to which a run adds, if somebody removes it or takes its name.
 *
 * An editor, `sed -i` and rsync put another file in the place of the old one. What is then written
 * to the old file, which has no name any more, would be lost.
 */
#ifndef LONGQLORA_TRAIN_GROWING_H
#define LONGQLORA_TRAIN_GROWING_H

#include "lib/common/fail.h"

#include <stdio.h>

enum { GROWING_NAME = 320, GROWING_WAIT = 5 };

/* Opens or creates a file to which growing_keep can be applied. With is_new it must not exist. NULL
 * with errno on failure. The caller calls fclose. */
FILE *growing_open(const char *path, bool is_new);
/* Call it before something is written to *file, which was flushed and has this name in the folder
 * `dir` (a descriptor), and with is_last before the file is closed. Returns 0 if the name still
 * leads to the file, or if the folder does not exist any more. Otherwise a new file with the old
 * content takes the place of *file, under the name `wanted` if it is free, else with -2, -3 and so
 * on before its last dot; then `name` gets the new name, and the result is 1. If the name is free,
 * that is done only after GROWING_WAIT seconds or with is_last, because somebody may be removing
 * the whole folder. *missing is 0 at first, and has the time since when the name is free. */
int growing_keep(FILE **file, int dir, const char *wanted, char name[GROWING_NAME], bool is_last,
                 double *missing, struct fail *why) MUST_USE;

#endif
