#include "lib/llama/provenance.h"

#include "lib/common/digest.h"
#include "lib/common/file.h"
#include "lib/common/program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char key[] = "longqlora", config_name[] = "config.json";

void provenance_remove(json_t *config) { json_object_del(config, key); }

/* Computes the digest of the text that json_write_file would write. */
static int digest_config(const json_t *config, char digest[DIGEST_TEXT], struct fail *why)
{
    char *text = json_text(config);
    if (!text) return fail(why, "out of memory");
    digest_of_bytes(text, strlen(text), digest);
    free(text);
    return 0;
}

/* ---- signing ---- */

/* Adds the digests of files that have none yet, in the order of their names. */
static int add_files(json_t *files, const char *folder, struct fail *why)
{
    char path[4096 + 256], digest[DIGEST_TEXT];
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), status = 0;
    if (count < 0) return fail(why, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (!status && !file_is_dots(name) && strcmp(name, config_name) != 0 &&
            !json_object_get(files, name)) {
            snprintf(path, sizeof path, "%s/%s", folder, name);
            status = digest_file(path, digest, why);
            if (!status && json_object_set_new(files, name, json_string(digest)))
                status = fail(why, "out of memory");
        }
        free(entries[i]);
    }
    free((void *)entries);
    return status;
}

int provenance_add(json_t *config, const char *made_by, json_t *files, const char *folder,
                   struct fail *why)
{
    char config_digest[DIGEST_TEXT];
    provenance_remove(config);
    if (add_files(files, folder, why)) return -1;
    json_t *made = json_pack("{s:s,s:O}", "made_by", made_by, "files", files);
    if (json_object_set_new(config, key, made)) return fail(why, "out of memory");
    if (digest_config(config, config_digest, why)) return -1;
    return json_object_set_new(files, config_name, json_string(config_digest))
               ? fail(why, "out of memory")
               : 0;
}

/* ---- checking ---- */

static int refuse(const char *folder, const char *name, const char *what, struct fail *why)
{
    return fail(why, "%.200s: holds %.200s, which %s: name another folder, or move it away", folder,
                name, what);
}

/* Has the file exactly the bytes that json_write_file would write for its value? */
static int is_as_written(const char *path, const json_t *config, bool *is_same, struct fail *why)
{
    char now[DIGEST_TEXT], then[DIGEST_TEXT];
    if (digest_file(path, now, why) || digest_config(config, then, why)) return -1;
    *is_same = !strcmp(now, then);
    return 0;
}

static int check_config(const char *folder, json_t *config, json_t *files, struct fail *why)
{
    char path[4096 + 32], config_digest[DIGEST_TEXT] = "", then[DIGEST_TEXT] = "";
    bool is_same = false;
    const char *recorded_digest = json_string_value(json_object_get(files, config_name));
    if (recorded_digest) snprintf(then, sizeof then, "%s", recorded_digest);
    snprintf(path, sizeof path, "%s/%s", folder, config_name);
    if (is_as_written(path, config, &is_same, why)) return -1;
    json_object_del(files, config_name);
    if (digest_config(config, config_digest, why)) return -1;
    if (is_same && !strcmp(then, config_digest)) return 0;
    return refuse(folder, config_name, "was changed since it was made", why);
}

static int check_files(const char *folder, const json_t *files, struct fail *why)
{
    char path[4096 + 256], digest[DIGEST_TEXT];
    const char *name;
    int status = 0;
    DIR *dir = opendir(folder);
    if (!dir) return fail(why, "%s: %s", folder, strerror(errno));
    while (!status && (name = file_next_name(dir))) {
        const char *then = json_string_value(json_object_get(files, name));
        if (!strcmp(name, config_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (!then)
            status = refuse(folder, name, "was put there since the model was made", why);
        else if (digest_file(path, digest, why))
            status = -1;
        else if (strcmp(then, digest) != 0)
            status = refuse(folder, name, "was changed since it was made", why);
    }
    closedir(dir);
    return status;
}

/* Finds a weights file in a folder, for a message; "" if there is none. */
static void find_weights(const char *folder, char found[256])
{
    static const char end[] = ".safetensors";
    const char *name;
    DIR *dir = opendir(folder);
    *found = 0;
    while (dir && (name = file_next_name(dir))) {
        size_t length = strlen(name);
        if (length >= sizeof end && !strcmp(name + length - (sizeof end - 1), end) &&
            (!*found || strcmp(name, found) < 0))
            snprintf(found, 256, "%s", name);
    }
    if (dir) closedir(dir);
}

static int refuse_other(const char *folder, const char *weights, struct fail *why)
{
    char what[160];
    snprintf(what, sizeof what,
             "was not made by %s or %s (older versions did not record what they made)",
             program_of("merge"), program_of("quantize"));
    return refuse(folder, weights, what, why);
}

static int check_all(const char *folder, struct fail *why)
{
    char path[4096 + 32], weights[256];
    find_weights(folder, weights);
    if (!*weights)
        return fail(why,
                    "%.200s: holds no weights, so it is not a model that these programs made: name "
                    "another, or move it away",
                    folder);
    snprintf(path, sizeof path, "%s/%s", folder, config_name);
    json_t *config = json_read_file(path, why);
    if (!config && access(path, F_OK))
        return refuse(folder, weights, "has no config.json beside it", why);
    if (!config) return refuse(folder, config_name, "is not what was written there", why);
    json_t *files = json_incref(json_object_get(json_object_get(config, key), "files"));
    int status = json_is_object(files) ? check_config(folder, config, files, why)
                                       : refuse_other(folder, weights, why);
    if (!status) status = check_files(folder, files, why);
    json_decref(files);
    json_decref(config);
    return status;
}

/* Returns a hash of the names, sizes and times of a folder's files. The hash changes if a file is
 * added, removed or written. */
static uint64_t fingerprint_of(const char *folder)
{
    uint64_t sum = 0;
    const char *name;
    DIR *dir = opendir(folder);
    while (dir && (name = file_next_name(dir))) {
        struct stat st = { 0 };
        if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        const int64_t facts[] = { (int64_t)st.st_dev,          (int64_t)st.st_ino,
                                  (int64_t)st.st_size,         (int64_t)st.st_mtim.tv_sec,
                                  (int64_t)st.st_mtim.tv_nsec, (int64_t)st.st_ctim.tv_sec,
                                  (int64_t)st.st_ctim.tv_nsec };
        sum += XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(facts, sizeof facts));
    }
    if (dir) closedir(dir);
    return sum;
}

int provenance_check(const char *folder, struct fail *why)
{
    /* The hash of the last folder that passed the check; 0 before the first. */
    static uint64_t checked;
    uint64_t fingerprint = fingerprint_of(folder);
    if (checked && fingerprint == checked) return 0;
    if (check_all(folder, why)) return -1;
    checked = fingerprint;
    return 0;
}
