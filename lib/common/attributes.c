#include "lib/common/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Gives the file the access control list of `from`. If `from` has no such list, this function
 * removes the one that the file inherited from its directory. */
static bool copy_list(int fd, const char *from, const char *name)
{
    ssize_t bytes = getxattr(from, name, NULL, 0);
    if (bytes < 0) {
        bool has_none = errno == ENODATA || errno == ENOTSUP;
        return has_none && (!fremovexattr(fd, name) || errno == ENODATA || errno == ENOTSUP);
    }
    char *list = malloc((size_t)bytes + 1);
    bool is_copied = list && getxattr(from, name, list, (size_t)bytes) == bytes &&
                     !fsetxattr(fd, name, list, (size_t)bytes, 0);
    free(list);
    return is_copied;
}

/* Gives fd the owner, group, permissions and access control list of the old file. If the group
 * cannot be set, the new file's own group gets only the permissions that all users have. If the
 * list cannot be set, the group gets no permissions, because the group bits of a file with a list
 * hold the list's mask. If fchmod fails, fd keeps its permissions, provided that they allow no more
 * than the wanted ones. */
static int copy_permissions(int fd, const char *old, const struct stat *like)
{
    mode_t mode = like->st_mode & 07777;
    if (!copy_list(fd, old, "system.posix_acl_access")) mode &= ~(mode_t)070;
    /* A failure here is ignored: it changes only files that are created in the folder later. */
    if (S_ISDIR(like->st_mode)) (void)copy_list(fd, old, "system.posix_acl_default");
    struct stat st;
    if (fchown(fd, like->st_uid, like->st_gid) && fchown(fd, (uid_t)-1, like->st_gid) &&
        !fstat(fd, &st) && st.st_gid != like->st_gid)
        mode &= ~(mode_t)(070 & ~(mode << 3));
    if (!S_ISDIR(like->st_mode)) mode &= 0777;
    if (!fchmod(fd, mode)) return 0;
    int error = errno;
    bool is_wider = fstat(fd, &st) || (st.st_mode & 0777 & ~mode);
    errno = error;
    return is_wider ? -1 : 0;
}

/* Reads the attribute called `name`. If name is NULL, reads the names of all attributes, each with
 * its terminating zero. Returns the size and sets *bytes, which the caller frees, or returns -1
 * with errno. */
static ssize_t read_attribute(const char *path, const char *name, char **bytes)
{
    enum { TRIES = 10 };
    *bytes = NULL;
    for (int i = 0; i < TRIES; i++) {
        ssize_t size = name ? getxattr(path, name, NULL, 0) : listxattr(path, NULL, 0);
        if (size < 0) return -1;
        free(*bytes);
        *bytes = malloc((size_t)size + 1);
        if (!*bytes || !size) return *bytes ? 0 : -1;
        ssize_t got = name ? getxattr(path, name, *bytes, (size_t)size)
                           : listxattr(path, *bytes, (size_t)size);
        if (got >= 0) return got;
        if (errno != ERANGE) return -1; /* ERANGE: the attribute has grown meanwhile */
    }
    return -1;
}

/* If somebody has moved the old file away, there is nothing to copy. */
static int copy_user_attributes(int fd, const char *old, struct fail *why)
{
    static const char users[] = "user.";
    char *names, *value = NULL;
    ssize_t length = read_attribute(old, NULL, &names);
    int status = 0;
    if (length < 0 && errno != ENOTSUP && errno != ENOSYS && errno != ENOENT)
        status =
            fail(why, "%.200s: its extended attributes cannot be read: %s", old, strerror(errno));
    for (ssize_t at = 0; !status && at < length; at += (ssize_t)strlen(names + at) + 1) {
        const char *name = names + at;
        if (strncmp(name, users, sizeof users - 1) != 0) continue;
        ssize_t size = read_attribute(old, name, &value);
        if (size < 0 ? errno != ENODATA : fsetxattr(fd, name, value, (size_t)size, 0))
            status = fail(why,
                          "%.200s: its extended attribute %.60s cannot be kept: %s: remove it "
                          "(setfattr -x), or name another file",
                          old, name, strerror(errno));
        free(value);
        value = NULL;
    }
    free(names);
    return status;
}

int attributes_copy(int fd, const char *old, const struct stat *like, struct fail *why)
{
    if (copy_user_attributes(fd, old, why)) return -1;
    if (!copy_permissions(fd, old, like)) return 0;
    return fail(why, "%.200s: its permissions cannot be kept: %s", old, strerror(errno));
}

int attributes_copy_path(const char *made, const char *old, struct fail *why)
{
    struct stat st;
    if (lstat(old, &st)) return 0;
    int fd = open(made, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return fail(why, "%.200s: %s", made, strerror(errno));
    int status = attributes_copy(fd, old, &st, why);
    close(fd);
    return status;
}
