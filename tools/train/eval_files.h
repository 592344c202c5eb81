/* eval_files.h - the files of samples that eval_file names.
 */
#ifndef LONGQLORA_EVAL_FILES_H
#define LONGQLORA_EVAL_FILES_H

#include "lib/stream/tokens.h"

enum { EVAL_FILES_MAX = 8, EVAL_NAME = 64 };

struct eval_file {
    char path[4096];
    /* The name in the log of all but the first: the file's, without folder and ending, and with _
     * for every character but letters, digits, _ and -. No two are the same. */
    char name[EVAL_NAME];
    struct reader *samples;
    struct sample_info info;
};

/* Fills path and name of each file. given: what eval_file says, or NULL. A path with a comma in it
 * is one file if that exists; otherwise commas separate the files. Returns how many there are, or
 * -1. */
int eval_files_parse(const char *given, struct eval_file files[EVAL_FILES_MAX],
                     struct fail *why) MUST_USE;

#endif
