/* attributes.h - copies attributes from a file or folder to the new one that replaces it:
 * permissions, access control lists, the user's extended attributes (user.*) and, where that is
 * allowed, owner and group. Timestamps are not copied. Capabilities, immutable flags and
 * set-user-ID bits are not copied, because they were given to the old content. Security labels are
 * left to the system.
 */
#ifndef LONGQLORA_ATTRIBUTES_H
#define LONGQLORA_ATTRIBUTES_H

#include "lib/common/fail.h"

#include <sys/stat.h>

/* Copies the attributes of `old`, whose status is *like, to the open file or folder fd that will
 * replace it. Fails if the permissions or an extended attribute cannot be set, because
 * replacing `old` would then lose them. If the owner, the group or the access control list cannot
 * be set, the permissions are reduced, so that nobody who had no access to `old` gets access to the
 * new file. */
int attributes_copy(int fd, const char *old, const struct stat *like, struct fail *why) MUST_USE;

/* Like attributes_copy, for the new file or folder at the path `made`. Does nothing if `old` does
 * not exist. */
int attributes_copy_path(const char *made, const char *old, struct fail *why) MUST_USE;

#endif
