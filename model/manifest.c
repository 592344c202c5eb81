/* manifest.json of a checkpoint: {"longqlora": 1, "files": {NAME: {"bytes": N, "digest": "…"}}}. */
#include "model/checkpoint.h"

#include "lib/common/file.h"
#include "lib/common/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char manifest_name[] = "manifest.json";

static int measure(const char *path, int64_t *bytes, char digest[STREAM_DIGEST_TEXT],
                   struct fail *why)
{
    struct stat st;
    if (stat(path, &st)) return fail(why, "%s: %s", path, strerror(errno));
    *bytes = st.st_size;
    return digest_file(path, digest, why);
}

json_t *checkpoint_measure_file(const char *path, struct fail *why)
{
    char digest[STREAM_DIGEST_TEXT], sha256[SHA256_TEXT];
    struct stat st;
    if (sha256_file(path, sha256, digest, why)) return NULL;
    if (stat(path, &st)) {
        (void)fail(why, "%s: %s", path, strerror(errno));
        return NULL;
    }
    json_t *entry = json_pack("{s:I,s:s,s:s}", "bytes", (json_int_t)st.st_size, "digest", digest,
                              "sha256", sha256);
    if (!entry) (void)fail(why, "out of memory");
    return entry;
}

json_t *checkpoint_measure(const char *directory, struct fail *why)
{
    char path[4096];
    struct dirent **names;
    json_t *files = json_object();
    int count = scandir(directory, &names, NULL, alphasort), status = 0;
    if (count < 0) status = fail(why, "%s: %s", directory, strerror(errno));
    if (!files) status = fail(why, "out of memory");
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        snprintf(path, sizeof path, "%s/%s", directory, name);
        if (!status && name[0] != '.' &&
            json_object_set_new(files, name, checkpoint_measure_file(path, why)))
            status = -1;
        free(names[i]);
    }
    if (count >= 0) free(names);
    if (!status) return files;
    json_decref(files);
    return NULL;
}

/* Returns the manifest's entry of a file, which is read unless it was measured before. */
static json_t *entry_of(const char *directory, const char *name, const json_t *measured,
                        struct fail *why)
{
    char path[4096];
    const json_t *known = json_object_get(measured, name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    char digest[STREAM_DIGEST_TEXT];
    int64_t bytes;
    if (!known && measure(path, &bytes, digest, why)) return NULL;
    json_t *entry = known ? json_deep_copy(known)
                          : json_pack("{s:I,s:s}", "bytes", (json_int_t)bytes, "digest", digest);
    if (!entry) (void)fail(why, "out of memory");
    json_object_del(entry, "sha256");
    return entry;
}

int checkpoint_seal(const char *directory, const json_t *measured, struct fail *why)
{
    char path[4096];
    DIR *dir = opendir(directory);
    if (!dir) return fail(why, "%s: %s", directory, strerror(errno));
    json_t *files = json_object();
    int status = files ? 0 : fail(why, "out of memory");
    for (struct dirent *e; !status && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        json_t *entry = entry_of(directory, e->d_name, measured, why);
        if (!entry)
            status = -1;
        else if (json_object_set_new(files, e->d_name, entry))
            status = fail(why, "out of memory");
    }
    closedir(dir);
    json_t *manifest = status ? NULL : json_pack("{s:i,s:O}", "longqlora", 1, "files", files);
    if (!status && !manifest) status = fail(why, "out of memory");
    snprintf(path, sizeof path, "%s/%s", directory, manifest_name);
    if (!status) status = json_write_file(manifest, path, why);
    json_decref(manifest);
    json_decref(files);
    return status;
}

int checkpoint_verify(const char *directory, struct fail *why)
{
    char path[4096], digest[STREAM_DIGEST_TEXT];
    int64_t bytes;
    const char *name;
    json_t *entry;
    snprintf(path, sizeof path, "%s/%s", directory, manifest_name);
    json_t *manifest = json_read_file(path, why);
    if (!manifest) return -1;
    json_t *files = json_object_get(manifest, "files");
    int status = 0;
    if (!json_object_get(files, "training_state"))
        status = fail_input(why, "%s: does not name training_state", path);
    json_object_foreach(files, name, entry)
    {
        if (status) break;
        const char *then = json_string_value(json_object_get(entry, "digest"));
        if (strchr(name, '/')) {
            status = fail_input(why, "%s/%s: names a file outside of its folder", directory,
                                manifest_name);
            break;
        }
        snprintf(path, sizeof path, "%s/%s", directory, name);
        status = measure(path, &bytes, digest, why);
        if (status) break;
        if (!then || bytes != json_integer_value(json_object_get(entry, "bytes")) ||
            strcmp(then, digest) != 0)
            status = fail_input(why, "%s: damaged: not what %s says", path, manifest_name);
    }
    json_decref(manifest);
    return status;
}

int checkpoint_digest(const char *directory, char digest[STREAM_DIGEST_TEXT], struct fail *why)
{
    char path[4096 + 16];
    int64_t bytes;
    snprintf(path, sizeof path, "%s/%s", directory, manifest_name);
    return measure(path, &bytes, digest, why);
}

/* Returns the "files" object of manifest.json. Returns NULL if there is none, or if a name in it
 * leads out of the directory. The caller calls json_decref. */
static json_t *files_of(const char *directory, struct fail *why)
{
    char path[4096 + 16];
    const char *name;
    json_t *entry;
    snprintf(path, sizeof path, "%s/%s", directory, manifest_name);
    json_t *manifest = json_read_file(path, why);
    json_t *files = json_incref(json_object_get(manifest, "files"));
    if (manifest && !files) fail_input(why, "%s: names no files", path);
    json_decref(manifest);
    if (!files) return NULL;
    json_object_foreach(files, name, entry)
    {
        if (!strchr(name, '/') && strcmp(name, "..") != 0) continue;
        fail_input(why, "%s: names a file outside of its folder", path);
        json_decref(files);
        return NULL;
    }
    return files;
}

bool checkpoint_is_pure(const char *directory)
{
    struct fail ignored;
    json_t *files = files_of(directory, &ignored);
    DIR *dir = files ? opendir(directory) : NULL;
    bool is_pure = dir != NULL;
    for (const char *name; is_pure && (name = file_next_name(dir));)
        is_pure =
            !strcmp(name, manifest_name) || json_object_get(files, name) || temporary_is(name);
    if (dir) closedir(dir);
    json_decref(files);
    return is_pure;
}

int checkpoint_remove(const char *directory, struct fail *why)
{
    char path[4096 + 256];
    const char *name;
    json_t *entry;
    json_t *files = files_of(directory, why);
    if (!files) return -1;
    int status = 0;
    json_object_foreach(files, name, entry)
    {
        snprintf(path, sizeof path, "%s/%s", directory, name);
        if (!status && unlink(path) && errno != ENOENT)
            status = fail(why, "%s: cannot remove: %s", path, strerror(errno));
    }
    json_decref(files);
    snprintf(path, sizeof path, "%s/%s", directory, manifest_name);
    if (!status && unlink(path)) status = fail(why, "%s: cannot remove: %s", path, strerror(errno));
    if (!status) temporary_sweep(directory, NULL, NULL);
    if (!status && rmdir(directory) && errno != ENOTEMPTY && errno != EEXIST)
        status = fail(why, "%s: cannot remove: %s", directory, strerror(errno));
    return status;
}

/* Moves every file that the manifest does not name into `successor`. If `successor` has a file of
 * that name, the file stays where it is and the call fails. */
static int move_foreign(const char *old, const char *successor, const json_t *files,
                        struct fail *why)
{
    enum { NOREPLACE = 1 << 0 }; /* RENAME_NOREPLACE */
    DIR *dir = opendir(old);
    int status = dir ? 0 : fail(why, "%s: %s", old, strerror(errno));
    for (const char *name; dir && (name = file_next_name(dir));) {
        char from[4096 + 256], to[4096 + 256];
        if (!strcmp(name, manifest_name) || json_object_get(files, name)) continue;
        snprintf(from, sizeof from, "%s/%s", old, name);
        snprintf(to, sizeof to, "%s/%s", successor, name);
        int failed = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, NOREPLACE);
        if (failed && (errno == EINVAL || errno == ENOSYS) && access(to, F_OK))
            failed = rename(from, to);
        if (failed) status = fail(why, "%s: cannot move: %s", from, strerror(errno));
    }
    if (dir) closedir(dir);
    return status;
}

int checkpoint_drop(const char *old, const char *successor, struct fail *why)
{
    struct stat st;
    if (lstat(old, &st)) return 0;
    json_t *files = files_of(old, why);
    must(*successor);
    /* Foreign files are moved first. If the program is killed later, a directory without a manifest
     * then holds only our own files. */
    int status = !files ? -1 : move_foreign(old, successor, files, why);
    json_decref(files);
    return status ? -1 : checkpoint_remove(old, why);
}

int checkpoint_discard(const char *path, const char *successor)
{
    struct fail ignored;
    json_t *files = files_of(path, &ignored);
    bool has_manifest = files != NULL;
    json_decref(files);
    return has_manifest ? checkpoint_drop(path, successor, &ignored)
                        : temporary_empty_folder(path, temporary_holds_any);
}
