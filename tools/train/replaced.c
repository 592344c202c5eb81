#include "tools/train/replaced.h"

#include "lib/common/output.h"
#include "tools/train/run_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char record_name[] = "longqlora-run.json", folder_name[] = "replaced";

const char *replaced_name(const struct run_folder *f)
{
    return json_string_value(json_object_get(run_folder_record(f, folder_name), "name"));
}

/* Has the run a result or a checkpoint? */
static bool has_saved(const struct run_folder *f)
{
    return run_folder_record(f, "finished") || run_folder_lists_checkpoints(f);
}

/* Opens a folder that holds a record, without locking it: it lies in the locked output_dir. Returns
 * false if the record is not that of the run with this mark. */
static bool open_aside(struct run_folder *aside, const struct run_folder *f, const char *name,
                       const char *mark)
{
    char path[4096];
    struct fail unused;
    *aside = (struct run_folder){ 0 };
    if ((size_t)snprintf(path, sizeof path, "%s/%s", f->path, name) >= sizeof aside->path)
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

/* Makes the folder. One that a killed process made for the same run is taken again. */
static int make_folder(const struct run_folder *f, char name[RUN_NAME], struct fail *why)
{
    enum { NAMES = 100 };
    for (int i = 1; i <= NAMES; i++) {
        char path[4096];
        struct run_folder before;
        snprintf(name, RUN_NAME, i > 1 ? "%s-%d" : "%s", folder_name, i);
        run_folder_path(f, name, path);
        if (!mkdir(path, 0777)) return 0;
        if (errno != EEXIST) return fail(why, "%s: cannot create: %s", path, strerror(errno));
        bool is_same =
            open_aside(&before, f, name, f->mark) && json_equal(before.record, f->record);
        json_decref(before.record);
        if (is_same) return 0;
    }
    return fail(why, "%s/%s: it exists already, and so does each of its other names", f->path,
                name);
}

static int move(const struct run_folder *f, const char *name, const char *to, struct fail *why)
{
    char from[4096], path[4096 + RUN_NAME];
    run_folder_path(f, name, from);
    snprintf(path, sizeof path, "%.3800s/%.200s/%s", f->path, to, name);
    return rename(from, path)
               ? fail(why, "%s: cannot move it to %s: %s", from, path, strerror(errno))
               : 0;
}

/* Moves everything that the run made, as its record lists it. */
static int move_all(const struct run_folder *f, const char *to, struct fail *why)
{
    const char *name;
    json_t *list;
    char path[4096];
    json_object_foreach(json_object_get(f->record, "files"), name, list)
    {
        if (!run_folder_owns(f, name)) continue;
        if (strchr(name, '/')) { /* an event file in runs/ */
            snprintf(path, sizeof path, "%.3800s/%.200s/runs", f->path, to);
            if (mkdir(path, 0777) && errno != EEXIST)
                return fail(why, "%s: cannot create: %s", path, strerror(errno));
        }
        if (move(f, name, to, why)) return -1;
    }
    json_object_foreach(json_object_get(f->record, "folders"), name, list)
    {
        run_folder_path(f, name, path);
        if (!run_folder_owns(f, name)) continue;
        if (!json_array_size(list))
            (void)rmdir(path); /* it stays if it has files of others */
        else if (checkpoint_is_pure(path) && move(f, name, to, why))
            return -1;
    }
    return 0;
}

/* Writes a copy of the record into the folder, before a file is moved there, and its digest to
 * `digest`. */
static int copy_record(const struct run_folder *f, const char *to, char digest[STREAM_DIGEST_TEXT],
                       struct fail *why)
{
    char path[4096];
    snprintf(path, sizeof path, "%.3800s/%.200s/%s", f->path, to, record_name);
    char *text = json_text(f->record);
    int status = text ? output_text(path, text, why) : fail(why, "%s: out of memory", path);
    if (!status) digest_of_bytes(text, strlen(text), digest);
    free(text);
    return status;
}

/* Removes the record, whose files are elsewhere now. */
static int forget(struct run_folder *f, struct fail *why)
{
    char path[4096];
    run_folder_path(f, record_name, path);
    if (unlink(path)) return fail(why, "%s: cannot remove: %s", path, strerror(errno));
    json_decref(f->record);
    f->record = NULL;
    f->written[0] = 0;
    f->verified_count = 0;
    return 0;
}

/* Begins a new record, which names the earlier run. */
static int begin(struct run_folder *f, json_t *earlier, struct fail *why)
{
    if (run_folder_prepare(f, why)) return -1;
    return json_object_set(f->record, folder_name, earlier) ? fail(why, "out of memory") : 0;
}

/* Moves the run of the record to a folder. */
static int set_aside(struct run_folder *f, struct fail *why)
{
    char name[RUN_NAME], mark[sizeof f->mark], record[STREAM_DIGEST_TEXT];
    memcpy(mark, f->mark, sizeof mark);
    if (run_folder_check_all_free(f, why) || make_folder(f, name, why) ||
        copy_record(f, name, record, why) || move_all(f, name, why) || forget(f, why))
        return -1;
    json_t *earlier = json_pack("{s:s,s:s,s:s}", "name", name, "mark", mark, "record", record);
    int status = begin(f, earlier, why);
    json_decref(earlier);
    return status;
}

/* Removes the run of the record, which has saved nothing. What it has replaced stays set aside. */
static int clear(struct run_folder *f, struct fail *why)
{
    json_t *earlier = json_incref(json_object_get(f->record, folder_name));
    int status = run_folder_clear(f, why);
    if (!status && earlier) status = begin(f, earlier, why);
    json_decref(earlier);
    return status;
}

int replaced_set_aside(struct run_folder *f, void (*report)(const char *), struct fail *why)
{
    char text[2 * RUN_PATH];
    if (!f->record) return 0;
    if (has_saved(f) ? set_aside(f, why) : clear(f, why)) return -1;
    const char *name = replaced_name(f);
    snprintf(
        text, sizeof text,
        "%.3000s: the earlier run is in %.3000s/%s until this run has saved a checkpoint or its "
        "result",
        f->path, f->path, name ? name : "");
    if (name) report(text);
    return 0;
}

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

/* Locks the folder of the earlier run, so that no program trains it further meanwhile. Returns the
 * descriptor that holds the lock, or -1 if a program does so now, or has done so: then the record
 * is another one. */
static int lock_unchanged(const struct run_folder *aside, const char *record)
{
    char path[4096], now[STREAM_DIGEST_TEXT];
    struct fail unused;
    int fd = open(aside->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    run_folder_path(aside, record_name, path);
    bool is_held = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    if (!is_held && record && !digest_file(path, now, &unused) && !strcmp(now, record)) return fd;
    close(fd);
    return -1;
}

/* Removes what the run made. */
static int remove_run(const struct run_folder *f, struct run_folder *aside, struct fail *why)
{
    json_t *record = json_incref(aside->record);
    int status = run_folder_clear(aside, why) || remove_rest(f, record, why) ? -1 : 0;
    json_decref(record);
    if (!status) (void)rmdir(aside->path);
    if (status) {
        struct fail first = *why;
        fail(why, "%s: what is left of the earlier run stays", first.text);
    }
    return status;
}

int replaced_remove(struct run_folder *f, struct fail *why)
{
    struct run_folder aside;
    json_t *earlier = json_object_get(f->record, folder_name);
    if (!earlier) return 0;
    bool is_there = open_aside(&aside, f, replaced_name(f), json_get_text(earlier, "mark"));
    int status = 0, lock = is_there ? lock_unchanged(&aside, json_get_text(earlier, "record")) : -1;
    json_object_del(f->record, folder_name);
    if (run_folder_write(f, why))
        status = -1;
    else if (lock >= 0)
        status = remove_run(f, &aside, why);
    else if (is_there)
        status =
            fail(why, "%s: the earlier run was trained further there, so it stays", aside.path);
    if (lock >= 0) close(lock);
    json_decref(aside.record);
    return status;
}
