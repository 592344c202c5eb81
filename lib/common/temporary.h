/* temporary.h - files and folders that are not yet whole, and what killed processes left of them.
 *
 * What becomes target T lies beside T until it is whole, as
 *
 *     .longqlora-<16 hex digits of the hash of T's own name>.<process>
 *
 * which is short enough beside any T, and says that it is ours. It is created exclusively, locked
 * (flock(2)) as long as it is written, and removed when a signal ends the program. What a killed
 * process left has such a name, no lock and no process; it goes when the same target is made again.
 * No other name is ever taken for ours. Where a file system has no locks nothing is taken for lost.
 */
#ifndef LONGQLORA_TEMPORARY_H
#define LONGQLORA_TEMPORARY_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <sys/stat.h>

/* Is that a name of a file which a folder of ours is made of? Called in signal handlers too. */
typedef bool folder_holds(const char *name);

struct temporary {
    int fd;                 /* open and locked: to write a file, to read a folder */
    struct name_slot *slot; /* in the list of what a signal removes; NULL: there is none */
    char path[4096];
};

/* Make what becomes `target`, whose links are followed already. like: what it will replace, whose
 * owner (where that is allowed) and permissions it has from the beginning; NULL: nothing. */
int temporary_file(struct temporary *t, const char *target, const struct stat *like,
                   struct fail *why) MUST_USE;
int temporary_folder(struct temporary *t, const char *target, const struct stat *like,
                     folder_holds *holds, struct fail *why) MUST_USE;
/* It has its own name now: nothing is to be removed at the end of the program. Closes it. Does
 * nothing for a zeroed struct, and neither does temporary_remove. */
void temporary_done(struct temporary *t);
/* Removes it: of a folder only files that it holds, and temporary ones in it. */
void temporary_remove(struct temporary *t);

/* Is the last part of a path such a name? */
bool temporary_is(const char *name);
/* Is that a folder in which nothing stands but such names, of processes that are gone? */
bool temporary_is_alone(const char *path);
/* Removes what killed processes left in a folder: for the target of that name, NULL: for any. Lost
 * folders go only where `holds` says what may be in them; NULL: they stay. */
void temporary_sweep(const char *directory, const char *name, folder_holds *holds);

/* What temporary_remove_folders calls, too; safe in a signal handler, and more than once. */
void temporary_also(void (*remove)(void));
/* Remove what the process has not finished, because it ends; safe in a signal handler. Files first.
 */
void temporary_remove_files(void);
void temporary_remove_folders(void);
/* Removes the files of a folder that `holds` knows and temporary ones, and then the folder; files
 * that are neither stay, and it fails (errno). Safe in a signal handler. */
int temporary_empty_folder(const char *path, folder_holds *holds) MUST_USE;

#endif
