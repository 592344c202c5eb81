#include "run_folder.h"

#include "../../lib/common/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char record_name[] = "longqlora-run.json";
static const char mark_prefix[] = ".longqlora-run-";

static void path_of(const struct run_folder *f, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%.*s", f->path, RUN_NAME - 1, name);
}

/* ---- what a killed run left, and what this one leaves if it comes to nothing ---- */

static int clear_left(const struct run_folder *f, const char *path, const char *purpose)
{
    char heir[4096];
    path_of(f, purpose, heir);
    return checkpoint_discard(path, heir);
}

static int remove_left(const struct run_folder *f, struct fail *why)
{
    DIR *dir = opendir(f->path);
    size_t length = strlen(f->mark);
    int status = dir ? 0 : fail(why, "%s: %s", f->path, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(dir));) {
        char path[4096];
        if (strncmp(e->d_name, f->mark, length) || e->d_name[length] != '.') continue;
        path_of(f, e->d_name, path);
        if (clear_left(f, path, e->d_name + length + 1))
            status = fail(why, "%s: cannot remove: %s", path, strerror(errno));
    }
    if (dir) closedir(dir);
    return status;
}

static struct {
    char made[4096];     /* a folder that is not in place; "": none */
    char record[4096];   /* of a run that has not begun; "": none */
    char path[RUN_PATH]; /* the folder itself, if it was not there */
    size_t missing;      /* the length of the first part of its path that was not; 0: none */
} unused;

static void remove_unused(void)
{
    if (unused.made[0]) checkpoint_discard(unused.made, "");
    if (unused.record[0]) unlink(unused.record);
    while (unused.missing && strlen(unused.path) >= unused.missing && !rmdir(unused.path)) {
        char *slash = strrchr(unused.path, '/');
        if (!slash || slash == unused.path) return;
        *slash = 0;
    }
}

static void note_missing(const char *path)
{
    char part[RUN_PATH];
    for (size_t i = 1; i <= strlen(path) && !unused.missing; i++) {
        if (path[i] != '/' && path[i]) continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        if (access(part, F_OK)) unused.missing = i;
    }
    snprintf(unused.path, sizeof unused.path, "%s", path);
    atexit(remove_unused);
}

/* ---- the record ---- */

/* Is the folder of that path the one that is open? A run that came to nothing removes an empty one.
 */
static bool is_open_one(const struct run_folder *f)
{
    struct stat opened, named;
    return !fstat(f->lock, &opened) && !stat(f->path, &named) && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* Who moves the folder away may begin another run under its name: this one goes with it. */
static int find_again(struct run_folder *f, struct fail *why)
{
    char own[64];
    struct run_folder moved = *f;
    if (is_open_one(f)) return 0;
    snprintf(own, sizeof own, "/proc/self/fd/%d", f->lock);
    ssize_t n = readlink(own, moved.path, sizeof moved.path - 1);
    moved.path[n > 0 ? n : 0] = 0;
    if (n <= 0 || !is_open_one(&moved))
        return fail(why, "%s: was removed while the run was under way", f->path);
    memcpy(f->path, moved.path, sizeof f->path);
    return 0;
}

static int read_record(struct run_folder *f, struct fail *why)
{
    char path[4096];
    path_of(f, record_name, path);
    if (access(path, F_OK) && errno == ENOENT) return 0;
    f->record = json_read_file(path, why);
    const char *mark = json_string_value(json_object_get(f->record, "mark"));
    size_t prefix = sizeof mark_prefix - 1;
    if (f->record && (!json_is_object(json_object_get(f->record, "run")) ||
                      !json_is_object(json_object_get(f->record, "files")) ||
                      !json_is_object(json_object_get(f->record, "folders")) || !mark ||
                      strncmp(mark, mark_prefix, prefix) || strlen(mark) != prefix + 16 ||
                      strspn(mark + prefix, "0123456789abcdef") != 16))
        fail_input(why, "%s: not a run's record", path);
    else if (f->record) {
        snprintf(f->mark, sizeof f->mark, "%s", mark);
        return remove_left(f, why);
    }
    char more[600];
    snprintf(more, sizeof more, "%s; move it away, or name another output_dir", why->text);
    return fail_input(why, "%.470s", more);
}

static int write_record(struct run_folder *f, struct fail *why)
{
    char path[4096];
    if (find_again(f, why)) return -1;
    path_of(f, record_name, path);
    return json_write_file(f->record, path, why);
}

static int start_record(struct run_folder *f, struct fail *why)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return fail(why, "getrandom: %s", strerror(errno));
    snprintf(f->mark, sizeof f->mark, "%s%016llx", mark_prefix, (unsigned long long)random);
    f->record = json_pack("{s:i,s:s,s:{},s:{},s:{}}", "longqlora", 1, "mark", f->mark, "run",
                          "files", "folders");
    return f->record ? 0 : fail(why, "out of memory");
}

const json_t *run_folder_said(const struct run_folder *f, const char *key)
{
    return json_object_get(f->record, key);
}

/* ---- the lock ---- */

static int lock_folder(struct run_folder *f, struct fail *why)
{
    enum { TRIES = 100 };
    note_missing(f->path);
    for (int i = 0; i < TRIES; i++) {
        if (output_directory(f->path, why)) return -1;
        f->lock = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (f->lock < 0 && errno != ENOENT) return fail(why, "%s: %s", f->path, strerror(errno));
        /* Where a file system has no locks the user has to see to it. */
        bool is_taken = f->lock >= 0 && flock(f->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
        if (is_taken) {
            unused.missing = 0; /* the other one's now */
            return fail(
                why, "%s: another run is under way there: wait for it, or name another output_dir",
                f->path);
        }
        if (f->lock >= 0 && is_open_one(f)) return 0;
        if (f->lock >= 0) close(f->lock);
    }
    unused.missing = 0;
    return fail(why, "%s: is removed again and again", f->path);
}

int run_folder_open(struct run_folder *f, const char *path, struct fail *why)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    *f = (struct run_folder){ 0 };
    if (length >= sizeof f->path) return fail_usage(why, "output_dir: the path is too long");
    snprintf(f->path, sizeof f->path, "%.*s", (int)length, path);
    if (lock_folder(f, why)) return -1;
    if (access(f->path, W_OK | X_OK)) return fail(why, "%s: %s", f->path, strerror(errno));
    return read_record(f, why);
}

void run_folder_close(struct run_folder *f)
{
    if (f->lock > 0) close(f->lock);
    json_decref(f->record);
    free(f->verified);
    *f = (struct run_folder){ 0 };
}

/* ---- whose is it? ---- */

static bool lists(const json_t *list, const char *digest)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        if (json_string_value(item) && !strcmp(json_string_value(item), digest)) return true;
    }
    return false;
}

/* What stands there has the digest to *digest; false if it is neither a file nor a checkpoint. */
static bool digest_of_name(const struct run_folder *f, const char *name, bool is_folder,
                           char digest[STREAM_DIGEST_TEXT])
{
    char path[4096];
    struct stat st;
    struct fail ignored;
    path_of(f, name, path);
    if (lstat(path, &st) || (is_folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))) return false;
    return !(is_folder ? checkpoint_digest(path, digest, &ignored)
                       : digest_file(path, digest, &ignored));
}

bool run_folder_owns(const struct run_folder *f, const char *name)
{
    char path[4096], digest[STREAM_DIGEST_TEXT];
    struct stat st;
    const json_t *list = json_object_get(json_object_get(f->record, "folders"), name);
    bool is_folder = list != NULL;
    if (!list) list = json_object_get(json_object_get(f->record, "files"), name);
    path_of(f, name, path);
    if (!list || lstat(path, &st)) return false;
    if (!json_array_size(list)) return is_folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode);
    return digest_of_name(f, name, is_folder, digest) && lists(list, digest);
}

int run_folder_claim(const struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096];
    struct stat st;
    path_of(f, name, path);
    if (lstat(path, &st) || run_folder_owns(f, name)) return 0;
    return fail_usage(
        why,
        "%s is in the way: the run would write it, but did not make what stands there: "
        "move it away, or name another output_dir",
        path);
}

/* The name has, or is going to have, that digest; what it has now stays known. */
static int expect(struct run_folder *f, const char *kind, const char *name, const char *digest,
                  struct fail *why)
{
    char now[STREAM_DIGEST_TEXT];
    bool is_folder = !strcmp(kind, "folders");
    json_t *list = json_array();
    if (run_folder_owns(f, name) && digest_of_name(f, name, is_folder, now) &&
        strcmp(now, digest) != 0)
        json_array_append_new(list, json_string(now));
    json_array_append_new(list, json_string(digest));
    return json_object_set_new(json_object_get(f->record, kind), name, list)
               ? fail(why, "out of memory")
               : 0;
}

/* ---- what the run says of itself ---- */

int run_folder_prepare(struct run_folder *f, struct fail *why)
{
    if (f->record) return 0;
    if (start_record(f, why)) return -1;
    path_of(f, record_name, unused.record);
    return write_record(f, why);
}

int run_folder_begin(struct run_folder *f, const json_t *run, struct fail *why)
{
    if (!f->record && start_record(f, why)) return -1;
    json_object_del(f->record, "finished");
    if (json_object_set_new(f->record, "run", json_deep_copy(run)))
        return fail(why, "out of memory");
    unused.record[0] = 0;
    return write_record(f, why);
}

int run_folder_add_file(struct run_folder *f, const char *name, struct fail *why)
{
    json_t *files = json_object_get(f->record, "files");
    return json_object_set_new(files, name, json_array()) ? fail(why, "out of memory")
                                                          : write_record(f, why);
}

int run_folder_add_folder(struct run_folder *f, const char *name, struct fail *why)
{
    json_t *folders = json_object_get(f->record, "folders");
    return json_object_set_new(folders, name, json_array()) ? fail(why, "out of memory")
                                                            : write_record(f, why);
}

int run_folder_adopt(struct run_folder *f, const char *name, struct fail *why)
{
    char digest[STREAM_DIGEST_TEXT];
    if (!digest_of_name(f, name, true, digest))
        return fail_input(why, "%s/%s: no checkpoint", f->path, name);
    return expect(f, "folders", name, digest, why) ? -1 : write_record(f, why);
}

int run_folder_finish(struct run_folder *f, const json_t *finished, struct fail *why)
{
    if (json_object_set_new(f->record, "finished", json_deep_copy(finished)))
        return fail(why, "out of memory");
    return write_record(f, why);
}

int run_folder_clear(struct run_folder *f, struct fail *why)
{
    const char *name;
    json_t *list;
    char path[4096];
    json_object_foreach(json_object_get(f->record, "files"), name, list)
    {
        path_of(f, name, path);
        if (run_folder_owns(f, name) && unlink(path))
            return fail(why, "%s: cannot remove: %s", path, strerror(errno));
    }
    json_object_foreach(json_object_get(f->record, "folders"), name, list)
    {
        path_of(f, name, path);
        if (!run_folder_owns(f, name)) continue;
        if (!json_array_size(list)) {
            if (rmdir(path) && errno != ENOTEMPTY && errno != EEXIST)
                return fail(why, "%s: cannot remove: %s", path, strerror(errno));
        } else if (checkpoint_remove(path, why)) {
            return -1;
        }
    }
    path_of(f, record_name, path);
    if (f->record && unlink(path)) return fail(why, "%s: cannot remove: %s", path, strerror(errno));
    json_decref(f->record);
    f->record = NULL;
    f->verified_count = 0;
    return 0;
}

/* ---- making ---- */

int run_folder_make(struct run_folder *f, const char *purpose, char path[4096], struct fail *why)
{
    if (find_again(f, why)) return -1;
    snprintf(path, 4096, "%s/%s.%s", f->path, f->mark, purpose);
    clear_left(f, path, purpose); /* what failed to be removed before */
    if (mkdir(path, 0777)) return fail(why, "%s: cannot create: %s", path, strerror(errno));
    memcpy(unused.made, path, sizeof unused.made);
    return 0;
}

void run_folder_unmake(const char *path)
{
    checkpoint_discard(path, "");
    unused.made[0] = 0;
}

/* What replaces something has its permissions. */
static void take_mode(const char *made, const char *path)
{
    struct stat st;
    if (!lstat(path, &st)) (void)!chmod(made, st.st_mode & 07777);
}

/* Where a file system cannot exchange two names, one has none for a moment. */
static int exchange(const char *made, const char *path, struct fail *why)
{
    enum { EXCHANGE = 1 << 1 }; /* RENAME_EXCHANGE */
    if (access(path, F_OK) ? !rename(made, path)
                           : !syscall(SYS_renameat2, AT_FDCWD, made, AT_FDCWD, path, EXCHANGE))
        return 0;
    if (errno == ENOSYS || errno == EINVAL) {
        if (checkpoint_remove(path, why)) return -1;
        if (!rename(made, path)) return 0;
    }
    return fail(why, "%s: cannot rename into place: %s", path, strerror(errno));
}

static int note_verified(struct run_folder *f, int64_t step, struct fail *why)
{
    int64_t *grown = realloc(f->verified, (size_t)(f->verified_count + 1) * sizeof *f->verified);
    if (!grown) return fail(why, "out of memory");
    f->verified = grown;
    f->verified[f->verified_count++] = step;
    return 0;
}

int run_folder_place(struct run_folder *f, const char *made, const char *name, struct fail *why)
{
    char path[4096], digest[STREAM_DIGEST_TEXT];
    path_of(f, name, path);
    if (run_folder_claim(f, name, why) || checkpoint_digest(made, digest, why) ||
        expect(f, "folders", name, digest, why) || write_record(f, why))
        return -1;
    take_mode(made, path);
    if (exchange(made, path, why)) return -1;
    unused.made[0] = 0;
    int64_t step = checkpoint_number(name);
    if (step >= 0 && note_verified(f, step, why)) return -1;
    return output_sync_directory(f->path, why) || checkpoint_drop(made, path, why) ? -1 : 0;
}

static int place_file(struct run_folder *f, const char *made, const char *name, struct fail *why)
{
    char from[4096 + 256], to[4096];
    snprintf(from, sizeof from, "%s/%s", made, name);
    path_of(f, name, to);
    if (run_folder_claim(f, name, why)) return -1;
    take_mode(from, to);
    return rename(from, to) ? fail(why, "%s: cannot rename into place: %s", to, strerror(errno))
                            : 0;
}

/* Calls place_file, or records digests, for each file but `last`. */
static int for_files(struct run_folder *f, const char *made, const char *last, bool places,
                     struct fail *why)
{
    DIR *dir = opendir(made);
    int status = dir ? 0 : fail(why, "%s: %s", made, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(dir));) {
        char path[4096 + 256], digest[STREAM_DIGEST_TEXT];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, last))
            continue;
        snprintf(path, sizeof path, "%s/%s", made, e->d_name);
        if (places)
            status = place_file(f, made, e->d_name, why);
        else if (digest_file(path, digest, why) || expect(f, "files", e->d_name, digest, why))
            status = -1;
    }
    if (dir) closedir(dir);
    return status;
}

int run_folder_place_files(struct run_folder *f, const char *made, const char *last,
                           struct fail *why)
{
    if (for_files(f, made, "", false, why) || write_record(f, why) ||
        for_files(f, made, last, true, why) || place_file(f, made, last, why))
        return -1;
    run_folder_unmake(made);
    return output_sync_directory(f->path, why);
}

int run_folder_rename(struct run_folder *f, const char *from, const char *to, struct fail *why)
{
    char source[4096], target[4096], digest[STREAM_DIGEST_TEXT];
    path_of(f, from, source);
    path_of(f, to, target);
    if (run_folder_claim(f, to, why) || run_folder_give_way(f, to, from, why) ||
        checkpoint_digest(source, digest, why) || expect(f, "folders", to, digest, why) ||
        write_record(f, why))
        return -1;
    return rename(source, target)
               ? fail(why, "%s: cannot rename into place: %s", target, strerror(errno))
               : output_sync_directory(f->path, why);
}

/* ---- removing ---- */

int run_folder_remove(struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096], aside[4096];
    if (!run_folder_owns(f, name)) return 0;
    path_of(f, name, path);
    snprintf(aside, sizeof aside, "%s/%s.old", f->path, f->mark);
    json_object_del(json_object_get(f->record, "folders"), name);
    /* Under the temporary name a half removed one is taken for no checkpoint. */
    if (checkpoint_is_pure(path) && !rename(path, aside)) return checkpoint_remove(aside, why);
    return checkpoint_remove(path, why);
}

int run_folder_give_way(struct run_folder *f, const char *name, const char *heir, struct fail *why)
{
    char path[4096], to[4096];
    if (!run_folder_owns(f, name)) return 0;
    path_of(f, name, path);
    path_of(f, heir, to);
    if (checkpoint_is_pure(path)) return run_folder_remove(f, name, why);
    json_object_del(json_object_get(f->record, "folders"), name);
    return checkpoint_drop(path, to, why);
}

int run_folder_verify(struct run_folder *f, int64_t step, struct fail *why)
{
    char path[4096];
    for (int64_t i = 0; i < f->verified_count; i++)
        if (f->verified[i] == step) return 0;
    snprintf(path, sizeof path, "%s/checkpoint-%lld", f->path, (long long)step);
    return checkpoint_verify(path, why) ? -1 : note_verified(f, step, why);
}

int run_folder_prune(struct run_folder *f, int64_t keep, int64_t saved, struct fail *why)
{
    int64_t kept = 0;
    for (int64_t n = INT64_MAX; keep && (n = checkpoint_newest(f->path, n)) >= 0;) {
        char name[48];
        struct fail ignored;
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)n);
        if (!run_folder_owns(f, name)) continue;
        if (kept >= keep ? n != saved : false) {
            if (run_folder_remove(f, name, why)) return -1;
        } else if (!run_folder_verify(f, n, &ignored)) {
            kept++;
        }
    }
    return 0;
}
