/* attributes.h - gives a file or folder what the one that it replaces has besides its content:
 * permissions, access control lists, the user's extended attributes (user.*) and, where that is
 * allowed, owner and group. Times are those of the writing. Capabilities, immutable flags and
 * set-user-ID bits are not taken, because they were given to the old content; security labels are
 * the system's to choose.
 */
#ifndef LONGQLORA_ATTRIBUTES_H
#define LONGQLORA_ATTRIBUTES_H

#include "lib/common/fail.h"

#include <sys/stat.h>

/* fd: the new one, open; `old`: the path of what it will replace, *like: the status of that. Fails
 * if permissions or an attribute cannot be set, because something of the user's would be lost.
 * Where owner, group or list cannot be set, the permissions are narrowed, so that nobody gets
 * access whom the old one did not let in. */
int attributes_copy(int fd, const char *old, const struct stat *like, struct fail *why) MUST_USE;

/* The same for a file or folder `made` that will replace `old`. Does nothing if `old` is not
 * there. */
int attributes_copy_path(const char *made, const char *old, struct fail *why) MUST_USE;

#endif
