#include "tools/train/replaced.h"

#include "lib/cli/die.h"
#include "lib/common/output.h"
#include "lib/common/temporary.h"
#include "tools/train/run_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char record_name[] = "longqlora-run.json", folder_name[] = "replaced",
                  moving_key[] = "moving";

const char *replaced_name(const struct run_folder *f)
{
    return json_string_value(json_object_get(run_folder_record(f, folder_name), "name"));
}

/* Has the run a result, a checkpoint or a best model? */
static bool has_saved(const struct run_folder *f)
{
    const char *name;
    json_t *digests;
    bool is_found = run_folder_record(f, "finished");
    json_object_foreach(json_object_get(f->record, "folders"), name, digests)
    {
        is_found = is_found || (json_array_size(digests) && run_folder_owns(f, name));
    }
    return is_found;
}

/* ---- the folder of the earlier run ---- */

/* Opens a folder that holds a record, without locking it: it lies in the locked output_dir. Returns
 * false if the record is not that of the run with this mark, or if the name is a link. */
static bool open_aside(struct run_folder *aside, const struct run_folder *f, const char *name,
                       const char *mark)
{
    char path[4096];
    struct stat st;
    struct fail unused;
    *aside = (struct run_folder){ 0 };
    run_folder_path(f, name, path);
    if (strlen(path) >= sizeof aside->path || lstat(path, &st) || !S_ISDIR(st.st_mode))
        return false;
    memcpy(aside->path, path, strlen(path) + 1);
    run_folder_path(aside, record_name, path);
    if (!access(path, F_OK)) aside->record = json_read_file(path, &unused);
    const char *own = json_string_value(json_object_get(aside->record, "mark"));
    if (aside->record && run_record_is_sound(aside->record) && !strcmp(own, mark)) return true;
    json_decref(aside->record);
    aside->record = NULL;
    return false;
}

/* Removes the record, if it is the earlier run's, and the folder unless it holds other files. */
static void remove_folder(const struct run_folder *aside)
{
    char record[4096];
    run_folder_path(aside, record_name, record);
    if (aside->record) (void)unlink(record);
    temporary_sweep(aside->path, NULL, NULL);
    (void)rmdir(aside->path);
}

/* Finds a name that is free. */
static int find_name(const struct run_folder *f, char name[RUN_NAME], struct fail *why)
{
    enum { NAMES = 100 };
    char path[4096];
    struct stat st;
    for (int i = 1; i <= NAMES; i++) {
        snprintf(name, RUN_NAME, i > 1 ? "%s-%d" : "%s", folder_name, i);
        run_folder_path(f, name, path);
        if (lstat(path, &st)) return 0;
    }
    return fail(why, "%s: exists already, and so does each of its other names: move them away",
                path);
}

static int move(const struct run_folder *from, const char *name, const char *to, struct fail *why)
{
    char path[4096], target[4096 + RUN_NAME];
    struct stat st;
    run_folder_path(from, name, path);
    snprintf(target, sizeof target, "%.3840s/%s", to, name);
    if (!lstat(target, &st))
        return fail(why, "%s: cannot move it to %s, which exists: move that one away", path,
                    target);
    return rename(path, target)
               ? fail(why, "%s: cannot move it to %s: %s", path, target, strerror(errno))
               : 0;
}

/* Moves everything that the run made, as its record lists it, to the folder `to`. */
static int move_all(const struct run_folder *from, const char *to, struct fail *why)
{
    const char *name;
    json_t *list;
    char path[4096];
    json_object_foreach(json_object_get(from->record, "files"), name, list)
    {
        if (!run_folder_owns(from, name)) continue;
        snprintf(path, sizeof path, "%.3840s/runs", to);
        if (strchr(name, '/') && mkdir(path, 0777) && errno != EEXIST) /* an event file in runs/ */
            return fail(why, "%s: cannot create: %s", path, strerror(errno));
        if (move(from, name, to, why)) return -1;
    }
    json_object_foreach(json_object_get(from->record, "folders"), name, list)
    {
        run_folder_path(from, name, path);
        if (!run_folder_owns(from, name)) continue;
        if (!json_array_size(list))
            (void)rmdir(path); /* it stays if it has files of others */
        else if (checkpoint_is_pure(path) && move(from, name, to, why))
            return -1;
    }
    return 0;
}

/* ---- setting aside ---- */

/* Enters in the record that its files are being moved to the folder, makes the folder, and writes
 * a copy of the record there, as it was before. Writes the digest of the copy to `digest`. */
static int begin_moving(struct run_folder *f, const char *name, char digest[STREAM_DIGEST_TEXT],
                        struct fail *why)
{
    char path[4096], record[4096 + 32];
    run_folder_path(f, name, path);
    snprintf(record, sizeof record, "%s/%s", path, record_name);
    char *text = json_text(f->record);
    int status = text ? 0 : fail(why, "%s: out of memory", record);
    if (!status) digest_of_bytes(text, strlen(text), digest);
    if (!status && json_object_set_new(f->record, moving_key, json_string(name)))
        status = fail(why, "out of memory");
    if (!status) status = run_folder_write(f, why);
    if (!status && mkdir(path, 0777))
        status = fail(why, "%s: cannot create: %s", path, strerror(errno));
    if (!status) status = output_text(record, text, why);
    free(text);
    return status;
}

/* Moves the files back that are in the folder already, and removes it. */
static int move_back(struct run_folder *f, const char *name, struct fail *why)
{
    struct run_folder aside;
    bool is_there = open_aside(&aside, f, name, f->mark);
    int status = is_there ? move_all(&aside, f->path, why) : 0;
    if (!status && *aside.path) remove_folder(&aside);
    json_decref(aside.record);
    if (status) return -1;
    return json_object_del(f->record, moving_key) ? 0 : run_folder_write(f, why);
}

int replaced_put_back(struct run_folder *f, struct fail *why)
{
    char name[RUN_NAME];
    const char *moving = json_string_value(run_folder_record(f, moving_key));
    if (!moving) return 0;
    snprintf(name, sizeof name, "%s", moving);
    return move_back(f, name, why);
}

/* Makes a new record in memory, which names the earlier run. The old one stays in its place until
 * the new one is written. */
static int renew(struct run_folder *f, json_t *earlier, struct fail *why)
{
    if (run_folder_renew(f, why)) return -1;
    return earlier && json_object_set(f->record, folder_name, earlier) ? fail(why, "out of memory")
                                                                       : 0;
}

/* Moves the run of the record to a folder. */
static int set_aside(struct run_folder *f, struct fail *why)
{
    char name[RUN_NAME], mark[sizeof f->mark], record[STREAM_DIGEST_TEXT], to[RUN_PATH + RUN_NAME];
    struct fail ignored;
    memcpy(mark, f->mark, sizeof mark);
    if (run_folder_check_all_free(f, why) || find_name(f, name, why)) return -1;
    snprintf(to, sizeof to, "%s/%s", f->path, name);
    if (begin_moving(f, name, record, why) || move_all(f, to, why)) {
        (void)!move_back(f, name, &ignored);
        return -1;
    }
    json_t *earlier = json_pack("{s:s,s:s,s:s}", "name", name, "mark", mark, "record", record);
    int status = renew(f, earlier, why);
    json_decref(earlier);
    return status;
}

/* Removes the files of the run of the record, which has saved nothing. What it has replaced stays
 * set aside. */
static int clear(struct run_folder *f, struct fail *why)
{
    json_t *earlier = json_incref(json_object_get(f->record, folder_name));
    int status = run_folder_clear(f, why) ? -1 : renew(f, earlier, why);
    json_decref(earlier);
    return status;
}

int replaced_set_aside(struct run_folder *f, void (*report)(const char *), struct fail *why)
{
    char text[2 * RUN_PATH];
    struct fail stays;
    if (!f->record) return 0;
    bool is_kept = has_saved(f);
    if (is_kept && replaced_remove(f, true, &stays)) warn("%s", stays.text);
    if (is_kept ? set_aside(f, why) : clear(f, why)) return -1;
    const char *name = replaced_name(f);
    snprintf(
        text, sizeof text,
        "%.3000s: the earlier run is in %.3000s/%s until this run has saved a checkpoint or its "
        "result",
        f->path, f->path, name ? name : "");
    if (name) report(text);
    return 0;
}

/* ---- removing ---- */

/* Removes the checkpoints that stayed in output_dir because they held files of others. The files of
 * others stay. */
static int remove_rest(const struct run_folder *f, json_t *record, struct fail *why)
{
    const char *name;
    json_t *list;
    char path[4096];
    struct run_folder then = { .record = record };
    memcpy(then.path, f->path, sizeof then.path);
    json_object_foreach(json_object_get(record, "folders"), name, list)
    {
        run_folder_path(f, name, path);
        if (json_array_size(list) && run_folder_owns(&then, name) && !run_folder_owns(f, name) &&
            checkpoint_remove(path, why))
            return -1;
    }
    return 0;
}

/* Removes the files of the earlier run, and last its record, so that the rest is removed later if
 * this process is killed. */
static int remove_run(const struct run_folder *f, struct run_folder *aside, struct fail *why)
{
    if (run_folder_clear(aside, why) || remove_rest(f, aside->record, why)) {
        struct fail first = *why;
        return fail(why, "%.400s: what is left of the earlier run stays", first.text);
    }
    remove_folder(aside);
    return 0;
}

/* Removes the earlier run if its record has this digest, and if no other program uses its folder.
 * Returns 1 if one does. */
static int remove_unused(const struct run_folder *f, struct run_folder *aside, const char *record,
                         struct fail *why)
{
    char path[4096], now[STREAM_DIGEST_TEXT];
    struct fail unused;
    int fd = open(aside->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail(why, "%s: %s, so it stays", aside->path, strerror(errno));
    bool is_used = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    run_folder_path(aside, record_name, path);
    bool is_same = !digest_file(path, now, &unused) && !strcmp(now, record);
    int status;
    if (!is_same)
        status =
            fail(why, "%s: the earlier run was trained further there, so it stays", aside->path);
    else if (!is_used)
        status = remove_run(f, aside, why);
    else
        status = -fail(why, "%s: another program uses the earlier run, so it stays", aside->path);
    close(fd);
    return status;
}

int replaced_remove(struct run_folder *f, bool is_last, struct fail *why)
{
    struct run_folder aside;
    json_t *earlier = json_object_get(f->record, folder_name);
    const char *name = replaced_name(f);
    if (!earlier) return 0;
    bool is_there = name && open_aside(&aside, f, name, json_get_text(earlier, "mark"));
    int status = is_there ? remove_unused(f, &aside, json_get_text(earlier, "record"), why) : 0;
    if (is_there) json_decref(aside.record);
    if (status > 0) return is_last ? -1 : 0;
    json_object_del(f->record, folder_name);
    return run_folder_write(f, why) ? -1 : status;
}
