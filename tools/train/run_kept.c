/* Finds names for the checkpoints and best models in a run's folder, and decides which of them
 * stay. */
#include "tools/train/run_folder.h"

#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/output.h"
#include "lib/common/output_dir.h"
#include "lib/common/signals.h"
#include "lib/common/target.h"
#include "tools/train/run_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int run_folder_advise(struct fail *why)
{
    char text[sizeof why->text];
    snprintf(text, sizeof text, "%.440s: name another output_dir", why->text);
    memcpy(why->text, text, sizeof text);
    return -1;
}

/* ---- names ---- */

bool run_folder_leads_away(const struct run_folder *f, const char *name)
{
    char path[4096];
    struct stat st;
    const char *slash = strchr(name, '/');
    if (!slash) return false;
    snprintf(path, sizeof path, "%s/%.*s", f->path, (int)(slash - name), name);
    return lstat(path, &st) || !S_ISDIR(st.st_mode);
}

enum { NAMES = 1000 }; /* `wanted`, then `wanted`-2 to `wanted`-1000 */

static void name_of(const char *wanted, int number, char name[RUN_NAME])
{
    snprintf(name, RUN_NAME, number > 1 ? "%.200s-%d" : "%.200s", wanted, number);
}

/* Returns the lowest number of the names that folders of the run have, or 0 if there is none. All
 * names of the record are tried, because the folders of lower numbers may have been removed. */
static int own_number(const struct run_folder *f, const char *wanted)
{
    const char *key;
    json_t *digests;
    char name[RUN_NAME];
    int lowest = 0;
    size_t length = strlen(wanted);
    json_object_foreach(json_object_get(f->record, "folders"), key, digests)
    {
        if (strncmp(key, wanted, length)) continue;
        long n = key[length] == '-' ? strtol(key + length + 1, NULL, 10) : !key[length];
        if (n < 1 || n > NAMES || (lowest && n > lowest)) continue;
        name_of(wanted, (int)n, name);
        if (!strcmp(key, name) && run_folder_owns(f, name)) lowest = (int)n;
    }
    return lowest;
}

void run_folder_name(const struct run_folder *f, const char *wanted, char name[RUN_NAME])
{
    int number = own_number(f, wanted);
    for (int i = 1; i <= NAMES && !number; i++) {
        name_of(wanted, i, name);
        if (run_folder_is_free(f, name)) number = i;
    }
    name_of(wanted, number, name);
}

int64_t run_folder_step(const char *name)
{
    char plain[RUN_NAME];
    size_t length = strcspn(name, "-"), digits = strspn(name + length, "-0123456789");
    const char *second = name[length] ? strchr(name + length + 1, '-') : NULL;
    if (!second || name[length + digits] || strchr(second + 1, '-') || !second[1])
        return checkpoint_number(name);
    snprintf(plain, sizeof plain, "%.*s", (int)(second - name), name);
    return checkpoint_number(plain);
}

int64_t run_folder_newest(const struct run_folder *f, int64_t below, char name[RUN_NAME])
{
    const char *key;
    json_t *digests;
    for (int64_t newest;; below = newest) {
        newest = -1;
        json_object_foreach(json_object_get(f->record, "folders"), key, digests)
        {
            int64_t n = run_folder_step(key);
            if (n > newest && n < below) newest = n;
        }
        if (newest < 0) return -1;
        char wanted[48];
        snprintf(wanted, sizeof wanted, "checkpoint-%lld", (long long)newest);
        run_folder_name(f, wanted, name);
        if (run_folder_owns(f, name)) return newest;
    }
}

int run_folder_rename(struct run_folder *f, const char *from, const char *to, struct fail *why)
{
    char source[4096], target[4096], digest[STREAM_DIGEST_TEXT];
    run_folder_path(f, from, source);
    run_folder_path(f, to, target);
    if (run_folder_claim(f, to, why) || run_folder_give_way(f, to, from, why) ||
        checkpoint_digest(source, digest, why) ||
        run_folder_expect(f, "folders", to, digest, why) || run_folder_write(f, why))
        return -1;
    return folder_rename(source, target)
               ? fail(why, "%s: cannot rename into place: %s", target, strerror(errno))
               : output_sync_directory(f->path, why);
}

int run_folder_check_readable(const struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096], manifest[4096 + 32];
    struct fail first;
    if (!run_record_lists(f->record, name)) return 0;
    run_folder_path(f, name, path);
    snprintf(manifest, sizeof manifest, "%s/manifest.json", path);
    if (!file_check_readable(path, &first) && !file_check_readable(manifest, &first)) return 0;
    return fail(why,
                "%s: so it cannot be compared with what the run made there: make it readable "
                "again, move it away, or name another output_dir",
                first.text);
}

bool run_folder_lists_checkpoints(const struct run_folder *f)
{
    const char *name;
    json_t *digests;
    bool is_found = false;
    json_object_foreach(json_object_get(f->record, "folders"), name, digests)
    {
        is_found = is_found || run_folder_step(name) >= 0;
    }
    return is_found;
}

bool run_folder_is_incomplete(const struct run_folder *f, const char *name)
{
    static const char *const ours[] = { "training_state", "proof.jsonl", "config.json",
                                        "adapter_config.json", "adapter_model.safetensors" };
    char path[4096 + RUN_NAME];
    bool has_ours = false;
    const json_t *digests = json_object_get(json_object_get(f->record, "folders"), name);
    for (size_t i = 0; i < sizeof ours / sizeof *ours && !has_ours; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", f->path, name, ours[i]);
        has_ours = !access(path, F_OK);
    }
    snprintf(path, sizeof path, "%s/%s/manifest.json", f->path, name);
    return json_array_size(digests) && has_ours && access(path, F_OK) && errno == ENOENT;
}

/* True for a file of a kind that our programs write. It may be the run's if the record was lost. */
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
    run_folder_path(f, name, path);
    if (lstat(path, &st) || run_folder_owns(f, name)) return run_folder_check_free(f, name, why);
    if (run_folder_check_readable(f, name, why)) return -1;
    if (run_folder_is_incomplete(f, name))
        return fail_usage(why,
                          "%s exists already: it is a checkpoint of the run, but without its "
                          "manifest.json, so it is not removed: move it away, or name another "
                          "output_dir",
                          path);
    return fail_usage(why,
                      "%s exists already: the run would write it, but what is there is not the "
                      "run's%s: move it away, or name another output_dir",
                      path,
                      f->record || !is_like_ours(path, name)
                          ? ""
                          : " (no longqlora-run.json says so: if it was moved "
                            "away, put it back)");
}

/* ---- removing ---- */

int run_folder_check_free(const struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096];
    struct stat st;
    struct fail kept;
    const json_t *list = json_object_get(json_object_get(f->record, "folders"), name);
    /* The record has no digests for the files in folders such as runs/. */
    bool has_no_digests = list && !json_array_size(list);
    run_folder_path(f, name, path);
    if (has_no_digests || lstat(path, &st) || !run_folder_owns(f, name)) return 0;
    if (list ? !target_check_empty(path, &kept) : !target_check_remove(path, &kept)) return 0;
    return fail(why,
                "%.300s: the run must replace it: make it removable, move it away, or name another "
                "output_dir",
                kept.text);
}

int run_folder_check_all_free(const struct run_folder *f, struct fail *why)
{
    static const char *const kinds[] = { "files", "folders" };
    const char *name;
    json_t *list;
    for (int i = 0; i < 2; i++)
        json_object_foreach(json_object_get(f->record, kinds[i]), name, list)
        {
            if (run_folder_check_free(f, name, why)) return -1;
        }
    return 0;
}

int run_folder_remove(struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096], aside[4096];
    sigset_t before;
    if (!run_folder_owns(f, name)) return 0;
    if (run_folder_check_free(f, name, why)) return -1;
    run_folder_path(f, name, path);
    snprintf(aside, sizeof aside, "%s/%s.old", f->path, f->mark);
    json_object_del(json_object_get(f->record, "folders"), name);
    /* A half-removed checkpoint must not look like a complete one. So a checkpoint that has only
     * files of the run is renamed before it is removed, if it can be renamed. */
    signals_block(&before);
    bool is_aside = checkpoint_is_pure(path) && !rename(path, aside);
    int status = checkpoint_remove(is_aside ? aside : path, why);
    signals_unblock(&before);
    return status;
}

int run_folder_give_way(struct run_folder *f, const char *name, const char *successor,
                        struct fail *why)
{
    char path[4096], to[4096];
    if (!run_folder_owns(f, name)) return 0;
    if (run_folder_check_free(f, name, why)) return -1;
    run_folder_path(f, name, path);
    run_folder_path(f, successor, to);
    if (checkpoint_is_pure(path)) return run_folder_remove(f, name, why);
    json_object_del(json_object_get(f->record, "folders"), name);
    return checkpoint_drop(path, to, why);
}

int run_folder_note_verified(struct run_folder *f, int64_t step, struct fail *why)
{
    if (buffer_extend(&f->verified, f->verified_count, why)) return -1;
    f->verified[f->verified_count++] = step;
    return 0;
}

int run_folder_verify(struct run_folder *f, const char *name, struct fail *why)
{
    char path[4096];
    int64_t step = run_folder_step(name);
    for (int64_t i = 0; i < f->verified_count; i++)
        if (f->verified[i] == step) return 0;
    run_folder_path(f, name, path);
    return checkpoint_verify(path, why) ? -1 : run_folder_note_verified(f, step, why);
}

/* Visits the checkpoints of steps `first` to `end` − 1, the newest first. While *kept is less than
 * `keep`, a checkpoint stays, and *kept counts it if it is complete. After that, checkpoints are
 * removed if they can be removed.
 */
static int prune_between(struct run_folder *f, int64_t first, int64_t end, int64_t keep,
                         int64_t *kept, struct fail *why)
{
    char name[RUN_NAME];
    for (int64_t n = end; (n = run_folder_newest(f, n, name)) >= first;) {
        char path[4096];
        struct fail ignored;
        run_folder_path(f, name, path);
        if (*kept < keep)
            *kept += !run_folder_verify(f, name, &ignored);
        else if (target_check_empty(path, &ignored))
            f->stays = *f->stays.text ? f->stays : ignored;
        else if (run_folder_remove(f, name, why))
            return -1;
    }
    return 0;
}

int run_folder_prune(struct run_folder *f, int64_t keep, int64_t saved, struct fail *why)
{
    char name[RUN_NAME];
    struct fail ignored;
    int64_t kept = 0, newest = INT64_MAX;
    if (!keep) return 0;
    while ((newest = run_folder_newest(f, newest, name)) > saved)
        if (!run_folder_verify(f, name, &ignored)) break;
    return prune_between(f, 0, saved + 1, keep, &kept, why) ||
                   prune_between(f, saved + 1, newest, keep, &kept, why)
               ? -1
               : 0;
}
