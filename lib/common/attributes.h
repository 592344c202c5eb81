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

/* fd: the new one, open; `old`: the path of what it will replace, *like: the status of that. Fails
 * if permissions or an attribute cannot be set, because replacing `old` would then lose them. If
 * owner, group or list cannot be set, the permissions are reduced, so that nobody gets access who
 * had none to the old one. */
int attributes_copy(int fd, const char *old, const struct stat *like, struct fail *why) MUST_USE;

/* The same for a file or folder `made` that will replace `old`. Does nothing if `old` is not
 * there. */
int attributes_copy_path(const char *made, const char *old, struct fail *why) MUST_USE;

#endif
