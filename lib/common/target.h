/* target.h - where an output's name leads.
 *
 * Links are followed to their end, so that what they lead to is replaced and the links stay; a
 * link may lead to nothing yet. What is no file and no folder (a device, a named pipe) is written
 * as it comes, and so is what the kernel shows as a file (/proc, /sys).
 */
#ifndef LONGQLORA_TARGET_H
#define LONGQLORA_TARGET_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <sys/stat.h>

enum target_kind {
    TARGET_FILE,       /* a regular file, or nothing yet */
    TARGET_FOLDER,     /* a folder that is there */
    TARGET_DEVICE,     /* written as it comes */
    TARGET_DESCRIPTOR, /* one of this process, as /dev/stdout */
};

struct target {
    enum target_kind kind;
    bool exists, is_slashed; /* is_slashed: the name ended with a slash */
    int descriptor;
    struct stat st;  /* if it exists */
    char path[4096]; /* the end of the links; folders before the last part may be links */
};

/* Fails on an empty name, on one that is too long, on links in a circle and on a socket. */
int target_find(struct target *t, const char *name, struct fail *why) MUST_USE;
/* The folder that the target stands in, "." where its path has no slash. */
void target_parent(const struct target *t, char *path, size_t size);
/* The last part of its path. */
const char *target_name(const struct target *t);
/* Fails if it is not there and cannot be made because the nearest folder above that is there may
 * not be written. */
int target_check_above(const struct target *t, const char *shown, struct fail *why) MUST_USE;
/* Fails if what stands there cannot be renamed over: something is mounted just there, it is
 * somebody else's in a folder like /tmp, or it or its folder can only be appended to (chattr). */
int target_check_replace(const struct target *t, const char *shown, struct fail *why) MUST_USE;

#endif
