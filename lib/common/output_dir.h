/* output_dir.h - writes a directory of files that is complete or absent.
 *
 * The files are made in a temporary directory beside the target, which folder_close renames to the
 * target. The temporary directory is removed if the output is abandoned, or if a signal ends the
 * program. If the program was killed, it is removed when the same target is made again
 * (temporary.h).
 *
 * What already exists at the target belongs to the user. A directory there is replaced only if it
 * is empty or if this program made it. The program made it if it contains only regular files whose
 * names folder_kind.holds accepts, and folder_kind.check succeeds. Otherwise nothing is changed,
 * and the error message names the first entry that does not belong there. If the target is a
 * symbolic link, the link stays, and the directory that it leads to is replaced. Permissions and
 * attributes of the directory and of its files are kept (attributes.h).
 *
 *     static const struct folder_kind model = { "a model", is_model_file, check_model };
 *     folder_check(path, &model, why);         before any work
 *     folder_open(&f, path, &model, why);
 *     ... make files in f.temporary ...
 *     folder_close(&f, why);
 */
#ifndef LONGQLORA_COMMON_OUTPUT_DIR_H
#define LONGQLORA_COMMON_OUTPUT_DIR_H

#include "lib/common/target.h"
#include "lib/common/temporary.h"

struct folder_kind {
    const char *what;    /* "a model", for messages */
    folder_holds *holds; /* accepts the names of its files */
    /* Fails unless this program made the existing folder. It is called after the names were
     * checked. NULL means that the names are proof enough. */
    int (*check)(const char *path, struct fail *why);
};

struct folder {
    /* path: the target, symbolic links followed; temporary: where to make the files */
    char path[4000], temporary[4096];
    char shown[200]; /* the target's name as the user gave it */
    const struct folder_kind *kind;
    struct temporary made;
};

/* Fails in the cases in which folder_open or folder_close would fail: an empty name or "-", an
 * existing entry that must not be replaced, missing permission, a mount point. Call it before any
 * work is done. */
int folder_check(const char *path, const struct folder_kind *kind, struct fail *why) MUST_USE;

/* Creates the temporary directory, and missing directories above it. */
int folder_open(struct folder *f, const char *path, const struct folder_kind *kind,
                struct fail *why) MUST_USE;
/* Checks the old directory again, renames the new one into its place, and removes the old one. */
int folder_close(struct folder *f, struct fail *why) MUST_USE;
/* Removes the temporary directory. */
void folder_abandon(struct folder *f);

/* Renames a folder and sets errno as rename(2) does. The file system overlayfs refuses, with EXDEV,
 * to rename a directory that came with a container's image. In that case this function creates `to`
 * and moves the entries of `from` into it. */
int folder_rename(const char *from, const char *to) MUST_USE;

/* Removes the process's unfinished folders; safe in a signal handler. */
void folder_remove_pending(void);

#endif
