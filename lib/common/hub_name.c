#include "lib/common/hub_name.h"

#include "lib/common/file.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static bool is_directory(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* Finds the first entry of a folder in the order of names. False if there is none. */
static bool find_entry(const char *directory, char name[256])
{
    DIR *dir = opendir(directory);
    *name = 0;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.' && (!*name || strcmp(e->d_name, name) < 0))
            snprintf(name, 256, "%s", e->d_name);
    if (dir) closedir(dir);
    return *name != 0;
}

bool hub_find_snapshot(const char *repository, char path[4096])
{
    char file[4200], revision[256] = "";
    snprintf(file, sizeof file, "%.4000s/refs/main", repository);
    if (file_read_head(file, revision, sizeof revision - 1, &(struct fail){ 0 }) < 0) *revision = 0;
    revision[strspn(revision, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] =
        0;
    snprintf(file, sizeof file, "%.4000s/snapshots", repository);
    if (!*revision && !find_entry(file, revision)) return false;
    snprintf(path, 4096, "%.3800s/snapshots/%.250s", repository, revision);
    return is_directory(path);
}

/* True if it may be the name of a model on Hugging Face's hub, "owner/name". */
static bool is_hub_name(const char *name)
{
    const char *slash = strchr(name, '/');
    size_t length = strlen(name);
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";
    if (!slash || slash == name || !slash[1] || strchr(slash + 1, '/') || *name == '.')
        return false;
    if (strspn(name, letters) != length || length > 200) return false;
    /* If a folder called owner exists, the user meant a path. */
    char owner[256];
    snprintf(owner, sizeof owner, "%.*s", (int)(slash - name), name);
    return !is_directory(owner);
}

/* Finds the repository in the hub's cache on this machine. */
static bool find_cached(const char *name, char path[4096])
{
    static const struct {
        const char *variable, *below;
    } places[] = { { "HF_HUB_CACHE", "" },
                   { "HF_HOME", "/hub" },
                   { "XDG_CACHE_HOME", "/huggingface/hub" },
                   { "HOME", "/.cache/huggingface/hub" } };
    char repository[4096];
    const char *slash = strchr(name, '/');
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *at = getenv(places[i].variable);
        if (!at || !*at) continue;
        snprintf(repository, sizeof repository, "%.3000s%s/models--%.*s--%.200s", at,
                 places[i].below, (int)(slash - name), name, slash + 1);
        if (hub_find_snapshot(repository, path)) return true;
    }
    return false;
}

int hub_name_absent(const char *path, int error, struct fail *why)
{
    static const char address[] = "https://huggingface.co/";
    char cached[4096];
    const char *name = path;
    if (!strncmp(path, address, sizeof address - 1)) name += sizeof address - 1;
    if (error != ENOENT || !is_hub_name(name)) return fail(why, "%s: %s", path, strerror(error));
    if (find_cached(name, cached))
        return fail(why, "%.200s: %s; the hub's cache has such a model: name %s", path,
                    strerror(error), cached);
    return fail(why,
                "%.200s: %s; if that is a name of the hub, fetch it first (hf download %.200s "
                "--local-dir DIR) and name DIR",
                path, strerror(error), name);
}
