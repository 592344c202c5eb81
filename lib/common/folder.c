#include "folder.h"

#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

void folder_remove_pending(void) { temporary_remove_folders(); }

/* ---- what stands there ---- */

static const char *kind_of_entry(const struct stat *st)
{
    return S_ISDIR(st->st_mode)   ? "a folder"
           : S_ISLNK(st->st_mode) ? "a link"
           : S_ISREG(st->st_mode) ? "a file that is not of it"
                                  : "no regular file";
}

/* The first entry by name that such a folder does not hold; its kind in *st. */
static int find_foreign(const char *path, folder_holds *holds, char name[256], struct stat *st,
                        size_t *count, struct fail *why)
{
    DIR *dir = opendir(path);
    if (!dir) return fail(why, "%s: %s", path, strerror(errno));
    *name = 0;
    *count = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat of;
        if (is_dots(e->d_name)) continue;
        ++*count;
        if (fstatat(dirfd(dir), e->d_name, &of, AT_SYMLINK_NOFOLLOW)) continue;
        if ((holds(e->d_name) && S_ISREG(of.st_mode)) || (*name && strcmp(name, e->d_name) < 0))
            continue;
        snprintf(name, 256, "%s", e->d_name);
        *st = of;
    }
    closedir(dir);
    return 0;
}

/* shown: the name that the user gave. */
static int check_contents(const char *path, const char *shown, const struct folder_kind *kind,
                          struct fail *why)
{
    char name[256];
    struct stat st;
    size_t count;
    if (find_foreign(path, kind->holds, name, &st, &count, why)) return -1;
    if (*name)
        return fail(why,
                    "%.200s: holds %s, %s: only an empty folder is replaced, or %s that was made "
                    "here: name another, or move it away",
                    shown, name, kind_of_entry(&st), kind->what);
    if (!count || !kind->check || !kind->check(path, why)) return 0;
    return -1;
}

static int find(struct target *t, const char *path, struct fail *why)
{
    if (!strcmp(path, "-")) return fail_usage(why, "-: a folder is made: name one");
    if (target_find(t, path, why)) return -1;
    if (t->kind != TARGET_FOLDER && (t->exists || t->kind != TARGET_FILE))
        return fail(why, "%.200s: not a folder, and one is made: name another", path);
    const char *name = target_name(t);
    if (is_dots(name) || !*name)
        return fail_usage(why, "%.200s: cannot be replaced as a whole: name a folder in it", path);
    return target_check_replace(t, path, why);
}

int folder_check(const char *path, const struct folder_kind *kind, struct fail *why)
{
    struct target t;
    if (find(&t, path, why) || target_check_above(&t, path, why)) return -1;
    if (!t.exists) return 0;
    if (faccessat(AT_FDCWD, t.path, R_OK | W_OK | X_OK, AT_EACCESS))
        return fail(why, "%.200s: may not be written: %s", path, strerror(errno));
    return check_contents(t.path, path, kind, why);
}

int folder_remove_kind(const char *path, const struct folder_kind *kind, struct fail *why)
{
    struct target t;
    if (find(&t, path, why)) return -1;
    if (!t.exists || strcmp(t.path, path) != 0)
        return fail(why, "%.200s: not a folder that could be removed", path);
    if (check_contents(path, path, kind, why)) return -1;
    if (!temporary_empty_folder(path, kind->holds)) return 0;
    return fail(why, "%.200s: cannot remove: %s", path, strerror(errno));
}

static bool holds_all(const char *name) { return !is_dots(name); }

int folder_remove(const char *path, struct fail *why)
{
    if (!temporary_empty_folder(path, holds_all)) return 0;
    return fail(why, "%s: cannot remove: %s", path, strerror(errno));
}

/* ---- making one ---- */

int folder_open(struct folder *f, const char *path, const struct folder_kind *kind,
                struct fail *why)
{
    struct target t;
    char above[4096];
    *f = (struct folder){ .kind = kind };
    if (folder_check(path, kind, why) || find(&t, path, why)) return -1;
    size_t length = strlen(t.path);
    if (length >= sizeof f->path) return fail(why, "%.200s: too long a name", path);
    memcpy(f->path, t.path, length + 1);
    snprintf(f->shown, sizeof f->shown, "%s", path);
    target_parent(&t, above, sizeof above);
    if (output_directory(above, why) ||
        temporary_folder(&f->made, f->path, t.exists ? &t.st : NULL, kind->holds, why))
        return -1;
    memcpy(f->temporary, f->made.path, sizeof f->temporary);
    return 0;
}

/* Files that take the place of others get those's permissions. */
static void keep_modes(const struct folder *f)
{
    DIR *dir = opendir(f->path);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (!f->kind->holds(e->d_name) ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        if (fchmodat(f->made.fd, e->d_name, st.st_mode & 0777, 0)) continue; /* it has no such */
    }
    closedir(dir);
}

/* The old directory, if there is one, comes to lie under the temporary name. */
static int exchange(const struct folder *f, bool has_old, struct fail *why)
{
    enum { NOREPLACE = 1 << 0, EXCHANGE = 1 << 1 }; /* RENAME_… */
    int flags = has_old ? EXCHANGE : NOREPLACE;
    if (!syscall(SYS_renameat2, AT_FDCWD, f->temporary, AT_FDCWD, f->path, flags)) return 0;
    if (errno == ENOSYS || errno == EINVAL) { /* a file system that cannot */
        char aside[4200];
        snprintf(aside, sizeof aside, "%s.old.%ld", f->path, (long)getpid());
        if (!has_old && !rename(f->temporary, f->path)) return 0;
        /* For a moment neither stands there. */
        if (has_old && access(aside, F_OK) && !rename(f->path, aside)) {
            if (!rename(f->temporary, f->path)) {
                if (!rename(aside, f->temporary)) return 0;
                return fail(why, "%s: its old files are in %.200s: %s", f->shown, aside,
                            strerror(errno));
            }
            int error = errno;
            if (rename(aside, f->path))
                return fail(why, "%s: its old files are in %.200s", f->shown, aside);
            errno = error;
        }
    }
    return fail(why, "%s: cannot rename into place: %s", f->shown, strerror(errno));
}

int folder_close(struct folder *f, struct fail *why)
{
    struct stat st;
    bool has_old = !lstat(f->path, &st);
    int status = output_sync_directory(f->temporary, why);
    if (!status && has_old) {
        status = S_ISDIR(st.st_mode) ? check_contents(f->path, f->shown, f->kind, why)
                                     : fail(why, "%s: not a folder any more", f->shown);
        if (!status) keep_modes(f);
    }
    if (status || exchange(f, has_old, why)) {
        folder_abandon(f);
        return -1;
    }
    if (has_old && temporary_empty_folder(f->temporary, f->kind->holds))
        status = fail(why, "%s: is whole; what stood there is left in %.200s: %s", f->shown,
                      f->temporary, strerror(errno));
    temporary_done(&f->made);
    return status;
}

void folder_abandon(struct folder *f)
{
    temporary_remove(&f->made);
    f->temporary[0] = 0;
}
