/* target.h - finds the file or folder that an output's name leads to.
 *
 * Symbolic links are followed to their end, so the file they lead to is replaced and the links
 * stay. A link may lead to a path that does not exist yet. Devices, named pipes and the kernel's
 * pseudo files (/proc, /sys) are written directly.
 */
#ifndef LONGQLORA_TARGET_H
#define LONGQLORA_TARGET_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <sys/stat.h>

/* The longest path that a user may give, in bytes. A file in it, "PATH/folder/name", then fits into
 * 4096 bytes, which is the longest path that Linux opens. */
enum { TARGET_PATH_MAX = 3800 };

enum target_kind {
    TARGET_FILE,       /* a regular file, or a path that does not exist yet */
    TARGET_FOLDER,     /* an existing folder */
    TARGET_DEVICE,     /* written directly, without a temporary file */
    TARGET_DESCRIPTOR, /* a descriptor of this process: /dev/stdout, /dev/fd/3 */
};

struct target {
    enum target_kind kind;
    bool exists, has_trailing_slash;
    int descriptor;
    struct stat st; /* valid if it exists */
    /* The path after the last symbolic link was followed. Folders in this path may still be
     * links. */
    char path[4096];
};

/* Fails if the path is longer than TARGET_PATH_MAX. */
int target_check_length(const char *name, struct fail *why) MUST_USE;
/* Follows `name`. Fails for an empty name, a name that is too long, a loop of links and a
 * socket. */
int target_find(struct target *t, const char *name, struct fail *why) MUST_USE;
/* Writes the path of the folder that contains the target; "." if the path has no slash. */
void target_parent(const struct target *t, char *path, size_t size);
/* The last part of the path. */
const char *target_name(const struct target *t);
/* Fails if the target does not exist and cannot be created, because the nearest existing folder
 * above it is not writable. `shown` is its name in messages, here and below. */
int target_check_above(const struct target *t, const char *shown, struct fail *why) MUST_USE;
/* Fails if the target cannot be replaced by a rename: it is a mount point, it belongs to another
 * user in a sticky folder such as /tmp, or it or its folder is append-only (chattr +a). */
int target_check_replace(const struct target *t, const char *shown, struct fail *why) MUST_USE;
/* Fails if a file or folder cannot be removed even though its folder is writable: it is immutable
 * or append-only (chattr +i, +a), or it is a mount point. */
int target_check_remove(const char *path, struct fail *why) MUST_USE;
/* Fails if a folder or one of the entries that it holds cannot be removed. */
int target_check_empty(const char *path, struct fail *why) MUST_USE;

#endif
