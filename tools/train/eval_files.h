/* eval_files.h - the files of samples that eval_file names.
 */
#ifndef LONGQLORA_EVAL_FILES_H
#define LONGQLORA_EVAL_FILES_H

#include "lib/stream/tokens.h"

enum { EVAL_FILES_MAX = 8, EVAL_NAME = 64 };

struct eval_file {
    char path[4096];
    /* The name in the log of each file but the first: the file's name without folder and extension,
     * in which _ replaces each character other than letters, digits, _ and -. No two files have the
     * same name. */
    char name[EVAL_NAME];
    struct reader *samples;
    struct sample_info info;
};

/* Fills path and name of each file. given: the value of eval_file, or NULL. If a file has this
 * whole text as its path, commas included, it is the only one; otherwise commas separate the files.
 * Returns how many there are, or -1. */
int eval_files_parse(const char *given, struct eval_file files[EVAL_FILES_MAX],
                     struct fail *why) MUST_USE;

#endif
