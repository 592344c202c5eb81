#include "lib/common/output_dir.h"

#include "lib/common/attributes.h"
#include "lib/common/file.h"
#include "lib/common/output.h"
#include "lib/common/signals.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

void folder_remove_pending(void) { temporary_remove_folders(); }

/* ---- what exists at the target ---- */

static const char *kind_of_entry(const struct stat *st)
{
    return S_ISDIR(st->st_mode)   ? "a folder"
           : S_ISLNK(st->st_mode) ? "a link"
           : S_ISREG(st->st_mode) ? "a file that does not belong there"
                                  : "no regular file";
}

/* Finds the first entry, in order of names, that `holds` does not accept or that is no regular
 * file. `name` becomes its name, or "" if there is none, and *st its status. *count becomes the
 * number of all entries. */
static int find_foreign(const char *path, folder_holds *holds, char name[256], struct stat *st,
                        size_t *count, struct fail *why)
{
    DIR *dir = opendir(path);
    if (!dir) return fail(why, "%s: %s", path, strerror(errno));
    *name = 0;
    *count = 0;
    for (const char *entry; (entry = file_next_name(dir));) {
        struct stat of;
        ++*count;
        if (fstatat(dirfd(dir), entry, &of, AT_SYMLINK_NOFOLLOW)) continue;
        if ((holds(entry) && S_ISREG(of.st_mode)) || (*name && strcmp(name, entry) < 0)) continue;
        snprintf(name, 256, "%s", entry);
        *st = of;
    }
    closedir(dir);
    return 0;
}

/* shown: the name that the user gave, for messages. */
static int check_contents(const char *path, const char *shown, const struct folder_kind *kind,
                          struct fail *why)
{
    char name[256];
    struct stat st = { 0 };
    size_t count;
    if (find_foreign(path, kind->holds, name, &st, &count, why)) return -1;
    if (*name)
        return fail(why,
                    "%.200s: holds %s, %s: only an empty folder, or %s that these programs made, "
                    "is replaced: name another, or move it away",
                    shown, name, kind_of_entry(&st), kind->what);
    if (!count || !kind->check || !kind->check(path, why)) return 0;
    return -1;
}

static int find(struct target *t, const char *path, struct fail *why)
{
    if (!strcmp(path, "-")) return fail_usage(why, "-: the output is a folder: name a folder");
    if (target_find(t, path, why)) return -1;
    if (t->kind != TARGET_FOLDER && (t->exists || t->kind != TARGET_FILE))
        return fail(why, "%.200s: not a folder, but the output is a folder: name another", path);
    const char *name = target_name(t);
    if (file_is_dots(name) || !*name)
        return fail_usage(why, "%.200s: cannot be replaced as a whole: name a folder in it", path);
    return target_check_replace(t, path, why);
}

int folder_check(const char *path, const struct folder_kind *kind, struct fail *why)
{
    struct target t;
    if (find(&t, path, why) || target_check_above(&t, path, why)) return -1;
    if (!t.exists) return 0;
    if (faccessat(AT_FDCWD, t.path, R_OK | W_OK | X_OK, AT_EACCESS))
        return fail(why, "%.200s: may not be written: %s: name another", path, strerror(errno));
    if (check_contents(t.path, path, kind, why)) return -1;
    struct fail kept;
    if (!target_check_empty(t.path, &kept)) return 0;
    return fail(why, "%.400s: make it removable, or name another folder", kept.text);
}

/* ---- making a folder ---- */

int folder_open(struct folder *f, const char *path, const struct folder_kind *kind,
                struct fail *why)
{
    struct target t;
    char above[4096];
    *f = (struct folder){ .kind = kind };
    if (folder_check(path, kind, why) || find(&t, path, why)) return -1;
    size_t length = strlen(t.path);
    if (length >= sizeof f->path) return fail(why, "%.200s: the name is too long", path);
    memcpy(f->path, t.path, length + 1);
    snprintf(f->shown, sizeof f->shown, "%s", path);
    target_parent(&t, above, sizeof above);
    if (output_directory(above, why) ||
        temporary_folder(&f->made, f->path, t.exists ? &t.st : NULL, kind->holds, why))
        return -1;
    memcpy(f->temporary, f->made.path, sizeof f->temporary);
    return 0;
}

/* Copies the permissions and attributes of each old file to the new file of the same name. */
static int keep_attributes(const struct folder *f, struct fail *why)
{
    DIR *dir = opendir(f->path);
    int status = 0;
    if (!dir) return fail(why, "%s: %s", f->shown, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(dir));) {
        struct stat st;
        char old[4096 + 256];
        if (!f->kind->holds(e->d_name) ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        int fd = openat(f->made.fd, e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) continue; /* the new folder has no file of this name */
        snprintf(old, sizeof old, "%s/%s", f->path, e->d_name);
        status = attributes_copy(fd, old, &st, why);
        close(fd);
    }
    closedir(dir);
    return status;
}

/* ---- renaming ---- */

static int move_contents(const char *from, const char *to)
{
    int folder = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0;
    DIR *dir = folder < 0 ? NULL : opendir(from);
    if (!dir) status = -1;
    for (const char *name; !status && (name = file_next_name(dir));)
        status = renameat(dirfd(dir), name, folder, name);
    int error = errno;
    if (dir) closedir(dir);
    if (folder >= 0) close(folder);
    errno = error;
    return status;
}

int folder_rename(const char *from, const char *to)
{
    struct stat st;
    if (!rename(from, to)) return 0;
    if (errno != EXDEV || lstat(from, &st) || !S_ISDIR(st.st_mode)) return -1;
    if (mkdir(to, 0700)) return -1;
    bool is_moved = !chmod(to, st.st_mode & 07777) && !move_contents(from, to) && !rmdir(from);
    if (is_moved) return 0;
    int error = errno;
    /* Entries that could not be moved back stay where they are. */
    if (move_contents(to, from) || rmdir(to)) (void)0;
    errno = error;
    return -1;
}

/* Renames in three steps. The target does not exist between the first step and the second. */
static int rename_by_steps(const struct folder *f, struct fail *why)
{
    char aside[4200];
    snprintf(aside, sizeof aside, "%s.old.%ld", f->path, (long)getpid());
    if (!access(aside, F_OK)) return fail(why, "%s: %.200s exists already", f->shown, aside);
    if (folder_rename(f->path, aside)) return fail(why, "%s: %s", f->shown, strerror(errno));
    if (rename(f->temporary, f->path)) {
        int error = errno;
        if (rename(aside, f->path))
            return fail(why, "%s: its old files are in %.200s", f->shown, aside);
        return fail(why, "%s: cannot rename into place: %s", f->shown, strerror(error));
    }
    if (!rename(aside, f->temporary)) return 0;
    return fail(why, "%s: its old files are in %.200s: %s", f->shown, aside, strerror(errno));
}

/* Used where a file system cannot exchange two names. Signals are blocked, because between the
 * steps the old directory has a name that nobody would look for. */
static int exchange_by_steps(const struct folder *f, struct fail *why)
{
    sigset_t before;
    signals_block(&before);
    int status = rename_by_steps(f, why);
    signals_unblock(&before);
    return status;
}

/* Exchanges the new directory with the old one, which then has the temporary name. Returns 1 if
 * another process has created or removed the target meanwhile. */
static int exchange(const struct folder *f, bool has_old, struct fail *why)
{
    enum { NOREPLACE = 1 << 0, EXCHANGE = 1 << 1 }; /* as in renameat2(2) */
    int flags = has_old ? EXCHANGE : NOREPLACE;
    if (!syscall(SYS_renameat2, AT_FDCWD, f->temporary, AT_FDCWD, f->path, flags)) return 0;
    if (errno == (has_old ? ENOENT : EEXIST)) return 1;
    bool is_unknown = errno == ENOSYS || errno == EINVAL || errno == EXDEV;
    if (is_unknown && has_old) return exchange_by_steps(f, why);
    if (is_unknown && !rename(f->temporary, f->path)) return 0;
    return fail(why, "%s: cannot rename into place: %s", f->shown, strerror(errno));
}

/* Prepares the exchange with the old directory. Returns 1 if somebody moves it away meanwhile. */
static int prepare_exchange(const struct folder *f, struct fail *why)
{
    struct stat st;
    if (!check_contents(f->path, f->shown, f->kind, why) && !keep_attributes(f, why)) return 0;
    return lstat(f->path, &st) && errno == ENOENT ? 1 : -1;
}

/* Gives the new directory its final name. Returns 1 if an old directory existed, which has the
 * temporary name now; 0 if there was none; -1 on failure. */
static int put_in_place(const struct folder *f, struct fail *why)
{
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        struct stat st;
        bool has_old = !lstat(f->path, &st);
        if (has_old && !S_ISDIR(st.st_mode)) return fail(why, "%s: not a folder", f->shown);
        int status = has_old ? prepare_exchange(f, why) : 0;
        if (!status) status = exchange(f, has_old, why);
        if (status <= 0) return status ? -1 : has_old;
    }
    return fail(why, "%s: another process creates and removes it again and again", f->shown);
}

int folder_close(struct folder *f, struct fail *why)
{
    int placed = output_sync_directory(f->temporary, why) ? -1 : put_in_place(f, why), status = 0;
    if (placed < 0) {
        folder_abandon(f);
        return -1;
    }
    if (placed && temporary_empty_folder(f->temporary, f->kind->holds))
        status = fail(why, "%s: is complete; the old folder is left in %.200s: %s", f->shown,
                      f->temporary, strerror(errno));
    temporary_done(&f->made);
    return status;
}

void folder_abandon(struct folder *f)
{
    temporary_remove(&f->made);
    f->temporary[0] = 0;
}
