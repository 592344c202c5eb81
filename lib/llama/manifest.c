/* manifest.json of a checkpoint: {"files": {NAME: {"bytes": N, "digest": "…"}}}. */
#include "checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static const char manifest_name[] = "manifest.json";

static int measure(const char *path, int64_t *bytes, char digest[STREAM_DIGEST_TEXT],
                   struct fail *why)
{
    struct stat st;
    if (stat(path, &st)) return fail(why, "%s: %s", path, strerror(errno));
    *bytes = st.st_size;
    return digest_file(path, digest, why);
}

int checkpoint_seal(const char *directory, struct fail *why)
{
    char path[4096], digest[STREAM_DIGEST_TEXT];
    int64_t bytes;
    DIR *dir = opendir(directory);
    if (!dir) return fail(why, "%s: %s", directory, strerror(errno));
    json_t *files = json_object();
    int status = files ? 0 : fail(why, "out of memory");
    for (struct dirent *e; !status && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        status = measure(path, &bytes, digest, why);
        if (!status && json_object_set_new(
                           files, e->d_name,
                           json_pack("{s:I,s:s}", "bytes", (json_int_t)bytes, "digest", digest)))
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
            status = fail_input(why, "%s: names a file elsewhere", path);
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
