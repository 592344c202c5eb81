/* unfinished.h - what of a run's folder goes when the program ends: a folder that did not get its
 * place, the record of a run that has not begun, and folders that were made and hold nothing.
 *
 * Removed by exit, die and handlers of signals (temporary_also).
 */
#ifndef LONGQLORA_UNFINISHED_H
#define LONGQLORA_UNFINISHED_H

#include <stdbool.h>

/* A folder that the run may make, and others above it: those that are not there now. */
enum unfinished_place { UNFINISHED_RUN, UNFINISHED_EVENTS };
void unfinished_place(enum unfinished_place which, const char *path);
/* They are another run's now. */
void unfinished_place_taken(enum unfinished_place which);

/* The folder with all files in it; one at a time. NULL: none any more. Signals that end a program
 * are blocked while it is made or put in place. */
void unfinished_folder(const char *path);
/* Removes it now, if it is still unfinished. */
void unfinished_folder_remove(void);

/* The file; NULL: it stays. */
void unfinished_record(const char *path);

#endif
