/* unfinished.h - removes unfinished parts of a run's folder when the program ends early. These are
 * a folder that was not yet renamed to its final name, the record of a run that has not begun, and
 * created folders that are still empty.
 *
 * exit, die and signal handlers remove them (temporary_on_removal).
 */
#ifndef LONGQLORA_UNFINISHED_H
#define LONGQLORA_UNFINISHED_H

#include <stdbool.h>

/* Remembers which folders of the path do not exist yet. The run may create them, and they are
 * removed if they are empty at the end. */
enum unfinished_place { UNFINISHED_RUN, UNFINISHED_EVENTS };
void unfinished_place(enum unfinished_place which, const char *path);
/* Call this when the folder exists. If it is moved later, a folder that somebody else makes at its
 * path is not removed. */
void unfinished_place_made(enum unfinished_place which);
/* Forgets this path, because another run uses its folder now. */
void unfinished_place_taken(enum unfinished_place which);

/* Remembers a folder, so that it is removed with all its files. Only one folder is remembered at a
 * time; NULL forgets it. Signals that end a program must be blocked while the folder is created or
 * renamed to its final name. */
void unfinished_folder(const char *path);
/* Removes the folder now if it is still unfinished. */
void unfinished_folder_remove(void);

/* Remembers the file of the record, so that it is removed. NULL: the record stays. */
void unfinished_record(const char *path);

#endif
