#include "tools/train/run_folder.h"

#include "lib/common/attributes.h"
#include "lib/common/file.h"
#include "lib/common/output.h"
#include "lib/common/signals.h"
#include "lib/common/temporary.h"
#include "tools/train/run_record.h"
#include "tools/train/unfinished.h"

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

void run_folder_path(const struct run_folder *f, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%.*s", f->path, RUN_NAME - 1, name);
}

/* ---- remains of a killed run ---- */

static int clear_left(const struct run_folder *f, const char *path, const char *purpose)
{
    char successor[4096];
    run_folder_path(f, purpose, successor);
    return checkpoint_discard(path, successor);
}

static int remove_left(const struct run_folder *f, const char *mark, struct fail *why)
{
    DIR *dir = opendir(f->path);
    size_t length = strlen(mark);
    int status = dir ? 0 : fail(why, "%s: %s", f->path, strerror(errno));
    for (struct dirent *e; !status && (e = readdir(dir));) {
        char path[4096];
        if (strncmp(e->d_name, mark, length) || e->d_name[length] != '.') continue;
        run_folder_path(f, e->d_name, path);
        if (clear_left(f, path, e->d_name + length + 1))
            status = fail(why,
                          "%s: left by a killed run, cannot be removed: %s: remove it, or name "
                          "another output_dir",
                          path, strerror(errno));
    }
    if (dir) closedir(dir);
    return status;
}

/* ---- the record ---- */

/* True if the path still leads to the open folder. Another process may have removed an empty
 * folder. */
bool run_folder_is_there(const struct run_folder *f)
{
    struct stat opened, named;
    return !fstat(f->lock, &opened) && !stat(f->path, &named) && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

static int lock_folder(struct run_folder *f, struct fail *why);

/* Finds the folder again after somebody moved or removed it. A moved folder is followed, because
 * another run may have begun under its old name. A removed folder is created anew, so that the work
 * is not lost, under a name with -2 and so on if the old name is taken. */
static int find_again(struct run_folder *f, struct fail *why)
{
    enum { PLACES = 9 };
    char own[64], wanted[RUN_PATH];
    struct run_folder moved = *f;
    if (run_folder_is_there(f)) return 0;
    snprintf(own, sizeof own, "/proc/self/fd/%d", f->lock);
    ssize_t n = readlink(own, moved.path, sizeof moved.path - 1);
    moved.path[n > 0 ? n : 0] = 0;
    if (n > 0 && run_folder_is_there(&moved)) {
        memcpy(f->path, moved.path, sizeof f->path);
        return 0;
    }
    close(f->lock);
    memcpy(wanted, f->path, sizeof wanted);
    f->was_made_again = true;
    int status = lock_folder(f, why);
    for (int i = 2; i <= PLACES && status; i++) {
        snprintf(f->path, sizeof f->path, "%.3800s-%d", wanted, i);
        status = lock_folder(f, why);
    }
    return status;
}

static int read_record(struct run_folder *f, struct fail *why)
{
    char path[4096];
    run_folder_path(f, record_name, path);
    if (access(path, F_OK) && errno == ENOENT) return 0;
    f->record = json_read_file(path, why);
    if (f->record && digest_file(path, f->written, why)) return -1;
    if (f->record && !run_record_is_sound(f->record))
        fail_input(why, "%s: not a run's record", path);
    else if (f->record) {
        snprintf(f->mark, sizeof f->mark, "%s",
                 json_string_value(json_object_get(f->record, "mark")));
        /* A run that replaces another one begins while the record is that of the other. */
        const char *earlier = json_get_text(json_object_get(f->record, "replaced"), "mark");
        return remove_left(f, f->mark, why) || (*earlier && remove_left(f, earlier, why)) ? -1 : 0;
    }
    char more[600];
    snprintf(more, sizeof more, "%s; move it away, or name another output_dir", why->text);
    return fail_input(why, "%.470s", more);
}

/* Returns 1 if somebody has replaced or changed the record, 0 if not, and -1 if it cannot be read.
 */
static int is_record_taken(const struct run_folder *f, const char *path, struct fail *why)
{
    char now[STREAM_DIGEST_TEXT];
    struct stat st;
    if (lstat(path, &st)) return 0;
    if (!S_ISREG(st.st_mode) || !f->written[0] || access(path, R_OK)) return 1;
    return digest_file(path, now, why) ? -1 : strcmp(now, f->written) != 0;
}

/* Writes the record. If somebody has replaced the record, the run continues without it, and files
 * that it makes from then on are not recorded. */
int run_folder_write(struct run_folder *f, struct fail *why)
{
    char path[4096];
    if (find_again(f, why)) return -1;
    run_folder_path(f, record_name, path);
    int taken = f->lost_record ? 1 : is_record_taken(f, path, why);
    if (taken < 0) return -1;
    f->lost_record = taken;
    if (f->lost_record) return 0;
    char *text = json_text(f->record);
    int status = text ? output_text(path, text, why) : fail(why, "%s: out of memory", path);
    if (!status) digest_of_bytes(text, strlen(text), f->written);
    free(text);
    return status;
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

const json_t *run_folder_record(const struct run_folder *f, const char *key)
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
        if (f->lock < 0 && errno != ENOENT) {
            fail(why, "%s: %s", f->path, strerror(errno));
            return run_folder_advise(why);
        }
        int error = f->lock >= 0 && flock(f->lock, LOCK_EX | LOCK_NB) ? errno : 0;
        f->has_no_locks = error && error != EWOULDBLOCK;
        if (error == EWOULDBLOCK) {
            unfinished_place_taken(UNFINISHED_RUN);
            return fail(
                why, "%s: another run is under way there: wait for it, or name another output_dir",
                f->path);
        }
        if (f->lock >= 0 && run_folder_is_there(f)) {
            unfinished_place_made(UNFINISHED_RUN);
            return 0;
        }
        if (f->lock >= 0) close(f->lock);
    }
    unfinished_place_taken(UNFINISHED_RUN);
    fail(why, "%s: another program removes this folder again and again", f->path);
    return run_folder_advise(why);
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
    if (access(f->path, W_OK | X_OK)) {
        fail(why, "%s: may not be written: %s", f->path, strerror(errno));
        return run_folder_advise(why);
    }
    return read_record(f, why);
}

void run_folder_close(struct run_folder *f)
{
    if (f->lock > 0) close(f->lock);
    json_decref(f->record);
    free(f->verified);
    *f = (struct run_folder){ 0 };
}

/* ---- ownership ---- */

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

/* Sets *digest to the digest of the file or checkpoint of this name. Returns false if there is no
 * file or checkpoint of this name. */
static bool digest_of_name(const struct run_folder *f, const char *name, bool is_folder,
                           char digest[STREAM_DIGEST_TEXT])
{
    char path[4096];
    struct stat st;
    struct fail ignored;
    run_folder_path(f, name, path);
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
    run_folder_path(f, name, path);
    if (!list || run_folder_leads_away(f, name) || lstat(path, &st)) return false;
    if (!json_array_size(list)) return is_folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode);
    return digest_of_name(f, name, is_folder, digest) && lists(list, digest);
}

static bool is_taken(const struct run_folder *f, const char *name)
{
    char path[4096];
    struct stat st;
    run_folder_path(f, name, path);
    return !lstat(path, &st) && !run_folder_owns(f, name);
}

bool run_folder_is_free(const struct run_folder *f, const char *name)
{
    char path[4096];
    run_folder_path(f, name, path);
    return !is_taken(f, name) || temporary_is_alone(path);
}

int run_folder_expect(struct run_folder *f, const char *kind, const char *name, const char *digest,
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

/* ---- the record's content ---- */

int run_folder_prepare(struct run_folder *f, struct fail *why)
{
    if (f->record) return 0;
    char path[4096];
    if (start_record(f, why)) return -1;
    run_folder_path(f, record_name, path);
    unfinished_record(path);
    return run_folder_write(f, why);
}

int run_folder_renew(struct run_folder *f, struct fail *why)
{
    json_decref(f->record);
    f->record = NULL;
    f->verified_count = 0;
    return start_record(f, why);
}

int run_folder_begin(struct run_folder *f, const json_t *run, struct fail *why)
{
    if (!f->record && start_record(f, why)) return -1;
    json_object_del(f->record, "finished");
    if (json_object_set_new(f->record, "run", json_deep_copy(run)))
        return fail(why, "out of memory");
    unfinished_record(NULL);
    return run_folder_write(f, why);
}

int run_folder_add_file(struct run_folder *f, const char *name, struct fail *why)
{
    json_t *files = json_object_get(f->record, "files");
    return json_object_set_new(files, name, json_array()) ? fail(why, "out of memory")
                                                          : run_folder_write(f, why);
}

int run_folder_add_folder(struct run_folder *f, const char *name, struct fail *why)
{
    json_t *folders = json_object_get(f->record, "folders");
    return json_object_set_new(folders, name, json_array()) ? fail(why, "out of memory")
                                                            : run_folder_write(f, why);
}

int run_folder_adopt(struct run_folder *f, const char *name, struct fail *why)
{
    char digest[STREAM_DIGEST_TEXT];
    if (!digest_of_name(f, name, true, digest))
        return fail_input(why, "%s/%s: no checkpoint", f->path, name);
    return run_folder_expect(f, "folders", name, digest, why) ? -1 : run_folder_write(f, why);
}

int run_folder_finish(struct run_folder *f, const json_t *finished, struct fail *why)
{
    if (json_object_set_new(f->record, "finished", json_deep_copy(finished)))
        return fail(why, "out of memory");
    return run_folder_write(f, why);
}

int run_folder_clear(struct run_folder *f, struct fail *why)
{
    const char *name;
    json_t *list;
    char path[4096];
    if (run_folder_check_all_free(f, why)) return -1;
    json_object_foreach(json_object_get(f->record, "files"), name, list)
    {
        run_folder_path(f, name, path);
        if (run_folder_owns(f, name) && unlink(path))
            return fail(why, "%s: cannot remove: %s", path, strerror(errno));
    }
    json_object_foreach(json_object_get(f->record, "folders"), name, list)
    {
        run_folder_path(f, name, path);
        if (!run_folder_owns(f, name)) continue;
        if (!json_array_size(list)) {
            if (rmdir(path) && errno != ENOTEMPTY && errno != EEXIST)
                return fail(why, "%s: cannot remove: %s", path, strerror(errno));
        } else if (checkpoint_remove(path, why)) {
            return -1;
        }
    }
    return 0;
}

/* ---- making and placing ---- */

int run_folder_make(struct run_folder *f, const char *purpose, char path[4096], struct fail *why)
{
    if (find_again(f, why)) return -1;
    snprintf(path, 4096, "%s/%s.%s", f->path, f->mark, purpose);
    clear_left(f, path, purpose); /* removes the folder that an earlier attempt could not remove */
    sigset_t before;
    signals_block(&before);
    int error = mkdir(path, 0777) ? errno : 0;
    if (!error) unfinished_folder(path);
    signals_unblock(&before);
    return error ? fail(why, "%s: cannot create: %s", path, strerror(error)) : 0;
}

/* After an exchange of names, `path` holds an old checkpoint. That checkpoint stays, because it may
 * hold files of others. */
void run_folder_unmake(const char *path, const char *shown, struct fail *why)
{
    fail_rename(why, path, shown);
    unfinished_folder_remove();
}

/* Exchanges two names. If the file system cannot do that, the old file is removed first. Somebody
 * may move the old file away meanwhile. Returns 1 if a file of somebody else has the name. */
static int exchange(const char *made, const char *path, bool has_own, struct fail *why)
{
    enum { EXCHANGE = 1 << 1 }; /* RENAME_EXCHANGE */
    if (has_own && !syscall(SYS_renameat2, AT_FDCWD, made, AT_FDCWD, path, EXCHANGE)) return 0;
    if (has_own && (errno == ENOSYS || errno == EINVAL || errno == EXDEV)) {
        if (checkpoint_remove(path, why)) return -1;
        has_own = false;
    }
    if (has_own && errno == ENOENT) has_own = false;
    /* Only an empty folder can be replaced. */
    if (!has_own && !rename(made, path)) return 0;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) return 1;
    return fail(why, "%s: cannot rename into place: %s", path, strerror(errno));
}

/* Renames `made` to its final name. Returns 1 if the name is taken. */
static int place(struct run_folder *f, const char *made, const char *name, struct fail *why)
{
    char path[4096], digest[STREAM_DIGEST_TEXT];
    run_folder_path(f, name, path);
    if (!run_folder_is_free(f, name)) return 1;
    bool has_own = run_folder_owns(f, name);
    if (!has_own) temporary_sweep(path, NULL, NULL);
    if (run_folder_check_free(f, name, why) || checkpoint_digest(made, digest, why) ||
        run_folder_expect(f, "folders", name, digest, why) || run_folder_write(f, why) ||
        attributes_copy_path(made, path, why))
        return -1;
    /* Signals that end the program are blocked until the exchange is complete. */
    sigset_t before;
    signals_block(&before);
    int status = exchange(made, path, has_own, why);
    if (!status) unfinished_folder(NULL);
    if (!status && (output_sync_directory(f->path, why) || checkpoint_drop(made, path, why)))
        status = -1;
    signals_unblock(&before);
    if (status) return status;
    int64_t step = run_folder_step(name);
    return step >= 0 && run_folder_note_verified(f, step, why) ? -1 : 0;
}

int run_folder_place(struct run_folder *f, const char *made, const char *wanted,
                     char name[RUN_NAME], struct fail *why)
{
    enum { NAMES = 100 };
    run_folder_name(f, wanted, name);
    int status = place(f, made, name, why);
    /* The name was taken a moment ago, so the next one is tried. */
    for (int i = 2; i <= NAMES && status > 0; i++) {
        snprintf(name, RUN_NAME, "%.200s-%d", wanted, i);
        status = place(f, made, name, why);
    }
    return status > 0 ? fail(why, "%s/%s exists already", f->path, name) : status;
}

static int place_file(struct run_folder *f, const char *made, const char *name, struct fail *why)
{
    char from[4096 + 256], to[4096];
    snprintf(from, sizeof from, "%s/%s", made, name);
    run_folder_path(f, name, to);
    if (run_folder_claim(f, name, why) || attributes_copy_path(from, to, why)) return -1;
    return rename(from, to) ? fail(why, "%s: cannot rename into place: %s", to, strerror(errno))
                            : 0;
}

/* Renames each file to its final name if `places`, and otherwise records its digest. `last` is left
 * to the caller. */
static int for_files(struct run_folder *f, const char *made, const char *last, bool places,
                     struct fail *why)
{
    DIR *dir = opendir(made);
    int status = dir ? 0 : fail(why, "%s: %s", made, strerror(errno));
    for (const char *name; !status && (name = file_next_name(dir));) {
        char path[4096 + 256], digest[STREAM_DIGEST_TEXT];
        if (!strcmp(name, last)) continue;
        snprintf(path, sizeof path, "%s/%s", made, name);
        if (places)
            status = place_file(f, made, name, why);
        else if (digest_file(path, digest, why) || run_folder_expect(f, "files", name, digest, why))
            status = -1;
    }
    if (dir) closedir(dir);
    return status;
}

/* Finds the first file of `made` whose final name is taken by a file of somebody else. */
static bool find_taken(const struct run_folder *f, const char *made, struct fail *why)
{
    bool is_found = false;
    DIR *dir = opendir(made);
    for (const char *name; dir && !is_found && (name = file_next_name(dir));)
        is_found = run_folder_claim(f, name, why);
    if (dir) closedir(dir);
    return is_found;
}

int run_folder_place_files(struct run_folder *f, const char *made, const char *last,
                           struct fail *why)
{
    if (find_taken(f, made, why)) return 1;
    if (for_files(f, made, "", false, why) || run_folder_write(f, why) ||
        for_files(f, made, last, true, why) || place_file(f, made, last, why))
        return -1;
    unfinished_folder_remove();
    return output_sync_directory(f->path, why);
}
