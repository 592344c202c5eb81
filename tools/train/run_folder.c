#include "run_folder.h"

#include "../../lib/common/output.h"
#include "../../lib/common/signals.h"
#include "run_record.h"
#include "unfinished.h"

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

static void path_of(const struct run_folder *f, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%.*s", f->path, RUN_NAME - 1, name);
}

/* ---- what a killed run left ---- */

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
    if (f->record && !run_record_is_sound(f->record))
        fail_input(why, "%s: not a run's record", path);
    else if (f->record) {
        snprintf(f->mark, sizeof f->mark, "%s",
                 json_string_value(json_object_get(f->record, "mark")));
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
    snprintf(f->mark, sizeof f->mark, RUN_MARK "%016llx", (unsigned long long)random);
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
    unfinished_place(UNFINISHED_RUN, f->path);
    for (int i = 0; i < TRIES; i++) {
        if (output_directory(f->path, why)) return -1;
        f->lock = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (f->lock < 0 && errno != ENOENT) return fail(why, "%s: %s", f->path, strerror(errno));
        int error = f->lock >= 0 && flock(f->lock, LOCK_EX | LOCK_NB) ? errno : 0;
        f->has_no_locks = error && error != EWOULDBLOCK;
        if (error == EWOULDBLOCK) {
            unfinished_place_taken(UNFINISHED_RUN);
            return fail(
                why, "%s: another run is under way there: wait for it, or name another output_dir",
                f->path);
        }
        if (f->lock >= 0 && is_open_one(f)) return 0;
        if (f->lock >= 0) close(f->lock);
    }
    unfinished_place_taken(UNFINISHED_RUN);
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

/* Something that programs of ours write, which a lost record would know. */
static bool is_like_ours(const char *path, const char *name)
{
    char manifest[4096 + 32];
    snprintf(manifest, sizeof manifest, "%s/manifest.json", path);
    return !access(manifest, F_OK) || !strcmp(name, "longqlora.json") ||
           !strcmp(name, "adapter_model.safetensors") || !strcmp(name, "trainer_log.jsonl");
}

int run_folder_claim(const struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096];
    struct stat st;
    path_of(f, name, path);
    if (lstat(path, &st) || run_folder_owns(f, name)) return 0;
    return fail_usage(
        why,
        "%s is in the way: the run would write it, but did not make what stands there%s: "
        "move it away, or name another output_dir",
        path,
        f->record || !is_like_ours(path, name) ? ""
                                               : " (no longqlora-run.json says so: if it was moved "
                                                 "away, put it back)");
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
    char path[4096];
    if (start_record(f, why)) return -1;
    path_of(f, record_name, path);
    unfinished_record(path);
    return write_record(f, why);
}

int run_folder_begin(struct run_folder *f, const json_t *run, struct fail *why)
{
    if (!f->record && start_record(f, why)) return -1;
    json_object_del(f->record, "finished");
    if (json_object_set_new(f->record, "run", json_deep_copy(run)))
        return fail(why, "out of memory");
    unfinished_record(NULL);
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
    sigset_t before;
    signals_block(&before);
    int error = mkdir(path, 0777) ? errno : 0;
    if (!error) unfinished_folder(path);
    signals_unblock(&before);
    return error ? fail(why, "%s: cannot create: %s", path, strerror(error)) : 0;
}

/* What a checkpoint was exchanged for is not removed here: it may hold somebody's files. */
void run_folder_unmake(const char *path, const char *shown, struct fail *why)
{
    fail_rename(why, path, shown);
    unfinished_folder_remove();
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
    /* A signal that ends the program waits until nothing half done is left. */
    sigset_t before;
    signals_block(&before);
    int status = exchange(made, path, why);
    if (!status) unfinished_folder(NULL);
    if (!status) status = output_sync_directory(f->path, why) || checkpoint_drop(made, path, why);
    signals_unblock(&before);
    int64_t step = checkpoint_number(name);
    return status || (step >= 0 && note_verified(f, step, why)) ? -1 : 0;
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
    unfinished_folder_remove();
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
    sigset_t before;
    if (!run_folder_owns(f, name)) return 0;
    path_of(f, name, path);
    snprintf(aside, sizeof aside, "%s/%s.old", f->path, f->mark);
    json_object_del(json_object_get(f->record, "folders"), name);
    /* Under the temporary name a half removed one is taken for no checkpoint. */
    signals_block(&before);
    bool is_aside = checkpoint_is_pure(path) && !rename(path, aside);
    int status = checkpoint_remove(is_aside ? aside : path, why);
    signals_unblock(&before);
    return status;
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

/* Those from step `first` on and below `end`, the newest first. */
static int prune_between(struct run_folder *f, int64_t first, int64_t end, int64_t keep,
                         int64_t *kept, struct fail *why)
{
    for (int64_t n = end; (n = checkpoint_newest(f->path, n)) >= first;) {
        char name[48];
        struct fail ignored;
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)n);
        if (!run_folder_owns(f, name)) continue;
        if (*kept < keep)
            *kept += !run_folder_verify(f, n, &ignored);
        else if (run_folder_remove(f, name, why))
            return -1;
    }
    return 0;
}

int run_folder_prune(struct run_folder *f, int64_t keep, int64_t saved, struct fail *why)
{
    struct fail ignored;
    int64_t kept = 0, newest = INT64_MAX;
    if (!keep) return 0;
    while ((newest = checkpoint_newest(f->path, newest)) > saved) {
        char name[48];
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)newest);
        if (run_folder_owns(f, name) && !run_folder_verify(f, newest, &ignored)) break;
    }
    return prune_between(f, 0, saved + 1, keep, &kept, why) ||
                   prune_between(f, saved + 1, newest, keep, &kept, why)
               ? -1
               : 0;
}
