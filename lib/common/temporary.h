/* temporary.h - makes temporary files and folders, and removes those that killed processes left.
 *
 * A file or folder that will become target T is first made in the folder of T, under the name
 *
 *     .longqlora-<16 hex digits of the hash of T's own name>.<process>
 *
 * This name fits in any directory that T fits in, and shows that we made it. The file is created
 * exclusively, stays locked (flock(2)) while it is written, and is removed if a signal ends the
 * program. A file that a killed process left has such a name but no lock. It is removed when the
 * same target is made again, if no process has the number in its name or if it is more than an hour
 * old. Files with other names are never removed. On a file system without locks nothing counts as
 * abandoned.
 */
#ifndef LONGQLORA_TEMPORARY_H
#define LONGQLORA_TEMPORARY_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <sys/stat.h>

/* Can a folder of the caller's kind contain a file of this name? The function is also called in
 * signal handlers. */
typedef bool folder_holds(const char *name);
/* Accepts every name, for a folder in which all files are the caller's. */
bool temporary_holds_any(const char *name);

struct temporary {
    int fd; /* open and locked: for writing a file, for reading a folder */
    /* Its entry in the list of files and folders that a signal removes; NULL if there is none. */
    struct name_slot *slot;
    char path[4096];
};

/* Create the temporary file or folder for `target`, a path whose symbolic links were followed
 * before. `like` is the status of the file or folder that will be replaced, or NULL if there is
 * none. The new one gets the old one's attributes when it is made (attributes.h). */
int temporary_file(struct temporary *t, const char *target, const struct stat *like,
                   struct fail *why) MUST_USE;
int temporary_folder(struct temporary *t, const char *target, const struct stat *like,
                     folder_holds *holds, struct fail *why) MUST_USE;
/* Call this after the rename to the final name: it closes the file and keeps it from being removed
 * at the end. This function and temporary_remove do nothing for a zeroed struct. */
void temporary_done(struct temporary *t);
/* Removes the file or folder. In a folder it removes only files that `holds` accepts and temporary
 * files, and then the folder itself if it is empty. */
void temporary_remove(struct temporary *t);

/* Is the last part of a path the name of a temporary file or folder? */
bool temporary_is(const char *name);
/* Does this folder contain nothing but temporary files of processes that have ended? */
bool temporary_is_alone(const char *path);
/* Removes the temporary files and folders that killed processes left in `directory` for the target
 * called `name`, or for any target if name is NULL. Abandoned folders lose only files that `holds`
 * accepts; if holds is NULL, abandoned folders stay. */
void temporary_sweep(const char *directory, const char *name, folder_holds *holds);

/* Sets a function that temporary_remove_folders also calls, in place of one that was set before. It
 * must be safe in a signal handler, and be allowed to run more than once. */
void temporary_on_removal(void (*remove)(void));
/* Remove all unfinished files and folders of the process when it ends: first files, then folders.
 * Safe in a signal handler. */
void temporary_remove_files(void);
void temporary_remove_folders(void);
/* Removes the files of a folder that `holds` accepts, its temporary files, and then the folder. If
 * it contains any other file, that file and the folder stay, and the call fails with errno. Safe in
 * a signal handler. */
int temporary_empty_folder(const char *path, folder_holds *holds) MUST_USE;

#endif
