/* folder.h - a directory of files that is whole or absent.
 *
 * Files are made in a temporary directory beside the target, which folder_close puts in
 * its place. One that is given up, or pending when a signal ends the program, is removed; what a
 * killed one left is, when the same target is made again.
 */
#ifndef LONGQLORA_FOLDER_H
#define LONGQLORA_FOLDER_H

#include "fail.h"

struct folder {
    char path[4000], temporary[4096]; /* the target; where files are made */
    int lock;                         /* of temporary */
};

/* Creates the temporary directory. A target that exists is to be replaced: it must be
 * empty or hold a file called marker, so that nobody's home is. */
int folder_open(struct folder *f, const char *path, const char *marker, struct fail *why) MUST_USE;
/* Puts it in place of the target, and removes what stood there. */
int folder_close(struct folder *f, struct fail *why) MUST_USE;
void folder_abandon(struct folder *f);

/* Removes a directory of files; those in directories below it stay, and it fails. */
int folder_remove(const char *path, struct fail *why) MUST_USE;
/* Removes the process's unfinished folder; safe in a signal handler. */
void folder_remove_pending(void);

#endif
