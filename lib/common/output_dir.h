/* output_dir.h - a directory of files that is whole or absent.
 *
 * Files are made in a temporary directory beside the target, which folder_close puts in its place.
 * One that is given up, or pending when a signal ends the program, is removed; what a killed one
 * left is, when the same target is made again (temporary.h).
 *
 * What stands at the target's name belongs to the user. It is replaced only if it is empty, or if
 * everything in it is a regular file of a name that such a folder holds and its kind's check says
 * that this program made it; else the first thing in the way is named and nothing is touched. A
 * link stays, what it leads to is replaced; permissions of the directory and of files are kept.
 *
 *     static const struct folder_kind model = { "a model", is_model_file, check_model };
 *     folder_check(path, &model, why);         before any work
 *     folder_open(&f, path, &model, why);
 *     ... files in f.temporary ...
 *     folder_close(&f, why);
 */
#ifndef LONGQLORA_COMMON_OUTPUT_DIR_H
#define LONGQLORA_COMMON_OUTPUT_DIR_H

#include "lib/common/target.h"
#include "lib/common/temporary.h"

struct folder_kind {
    const char *what;    /* "a model": for messages */
    folder_holds *holds; /* names of its files */
    /* Did this program make the one that stands there? Its files' names are right. NULL: then names
     * suffice. */
    int (*check)(const char *path, struct fail *why);
};

struct folder {
    char path[4000], temporary[4096]; /* the target, links followed; where files are made */
    char shown[200];                  /* the target's name as it was given */
    const struct folder_kind *kind;
    struct temporary made;
};

/* Fails, before any work, where folder_open or folder_close would: an empty name or "-", something
 * in the way, no permission, something mounted there. */
int folder_check(const char *path, const struct folder_kind *kind, struct fail *why) MUST_USE;

/* Creates the temporary directory, and those above it. */
int folder_open(struct folder *f, const char *path, const struct folder_kind *kind,
                struct fail *why) MUST_USE;
/* Puts it in place of the target, and removes what stood there, which is checked again. */
int folder_close(struct folder *f, struct fail *why) MUST_USE;
void folder_abandon(struct folder *f);

/* As rename(2), with errno. A directory that came with a container's image cannot be renamed (EXDEV
 * of overlayfs): it is made anew, and what is in it is moved there. */
int folder_rename(const char *from, const char *to) MUST_USE;

/* Removes a directory of that kind; fails, and removes nothing, if folder_check would. */
int folder_remove_kind(const char *path, const struct folder_kind *kind, struct fail *why) MUST_USE;

/* Removes the process's unfinished folders; safe in a signal handler. */
void folder_remove_pending(void);

#endif
