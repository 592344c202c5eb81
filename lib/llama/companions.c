#include "lib/llama/companions.h"

#include "lib/common/file.h"
#include "lib/common/json_member.h"
#include "lib/common/output.h"
#include "lib/llama/named_templates.h"
#include "lib/tokenizer/gguf_tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The tokenizer's files come first. */
static const char *const names[] = { "tokenizer.model",
                                     "tokenizer.json",
                                     "tokenizer_config.json",
                                     "special_tokens_map.json",
                                     "added_tokens.json",
                                     "vocab.json",
                                     "merges.txt",
                                     "chat_template.jinja",
                                     "generation_config.json",
                                     "LICENSE",
                                     "LICENSE.txt",
                                     "LICENSE.md",
                                     "USE_POLICY.md",
                                     "NOTICE" };
enum { NAMES = sizeof names / sizeof *names };

const char *companion_name(size_t i) { return i < NAMES ? names[i] : NULL; }

bool companion_is(const char *name)
{
    for (int i = 0; i < NAMES; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static const char *folder_of(struct companions_place from, const char *name)
{
    enum { TOKENIZERS = 8 }; /* the number of tokenizer files, at the beginning of the list */
    for (int i = 0; from.tokenizer && i < TOKENIZERS; i++)
        if (!strcmp(name, names[i])) return from.tokenizer;
    return from.folder;
}

static bool is_inside(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && (path[length] == '/' || !strcmp(folder, "/"));
}

/* Is `path` in the blobs of the hub's cache to which `folder` (…/models--NAME/snapshots/REVISION)
 * belongs? `path` has no symbolic links in it any more, so a link called blobs is not mistaken for
 * that folder. */
static bool is_blob(const char *path, const char *folder)
{
    static const char snapshots[] = "/snapshots/", blobs[] = "/blobs/";
    const char *at = strstr(folder, snapshots), *model = at;
    while (model && model > folder && model[-1] != '/')
        model--;
    if (!model || strncmp(model, "models--", 8) != 0) return false;
    size_t length = (size_t)(at - folder);
    return !strncmp(path, folder, length) && !strncmp(path + length, blobs, sizeof blobs - 1) &&
           !strchr(path + length + sizeof blobs - 1, '/');
}

/* Opens a file. Returns 1 and its descriptor, 0 if it does not exist, or -1 on failure. */
static int open_one(const char *from, const char *name, int *fd, struct stat *st, struct fail *why)
{
    char path[4200], real[4096], folder[4096];
    *fd = -1;
    snprintf(path, sizeof path, "%s/%s", from, name);
    if (lstat(path, st))
        return errno == ENOENT ? 0 : fail(why, "%.300s: %s", path, strerror(errno));
    if (!realpath(from, folder)) return fail(why, "%.300s: %s", from, strerror(errno));
    if (!realpath(path, real))
        return fail(why, "%.300s: the link cannot be followed: %s", path, strerror(errno));
    if (!is_inside(real, folder) && !is_blob(real, folder))
        return fail(why,
                    "%.150s: leads to %.150s, outside of the model's folder, and would be copied: "
                    "put the file itself there, or remove the link",
                    path, real);
    if (!stat(real, st) && S_ISREG(st->st_mode))
        *fd = open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    else
        return fail(why, "%.300s: this is not a regular file, but would be copied: remove it",
                    path);
    if (*fd < 0 || fstat(*fd, st)) {
        fail(why, "%.300s: %s", path, strerror(errno));
    } else if (!S_ISREG(st->st_mode) || st->st_size > COMPANION_MAX) {
        fail(why, "%.300s: the file has %lld bytes, but at most %d MiB are copied with a model",
             path, (long long)st->st_size, COMPANION_MAX >> 20);
    } else {
        return 1;
    }
    if (*fd >= 0) close(*fd);
    return -1;
}

/* Reads a whole file of that size; the caller frees the result. */
static char *read_whole(int fd, size_t bytes, const char *name, struct fail *why)
{
    char *data;
    size_t got;
    int status = file_read_rest(fd, name, bytes, &data, &got, why);
    if (!status && got == bytes) return data;
    if (status >= 0) fail_input(why, "%.300s: changed while it was read: begin again", name);
    free(data);
    return NULL;
}

/* Compares the data with an existing file. Returns 1 if they are equal, 0 if there is no file, -1
 * if they differ. */
static int compare(const char *to, const char *name, const char *data, size_t bytes,
                   struct fail *why)
{
    char path[4200];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", to, name);
    if (lstat(path, &st))
        return errno == ENOENT ? 0 : fail(why, "%.300s: %s", path, strerror(errno));
    size_t there = (size_t)st.st_size;
    int fd = S_ISREG(st.st_mode) && there == bytes
                 ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
                 : -1;
    char *old = fd < 0 ? NULL : read_whole(fd, there, path, why);
    bool is_same = old && !memcmp(old, data, bytes);
    free(old);
    if (fd >= 0) close(fd);
    if (is_same) return 1;
    return fail(why, "%.300s: is another file than the model's and is not replaced: move it away",
                path);
}

static int write_one(const char *to, const char *name, const char *data, const struct stat *from,
                     struct fail *why)
{
    char path[4200];
    struct output out;
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", to, name);
    if (output_open(&out, path, why)) return -1;
    int status = output_write(&out, data, (size_t)from->st_size, why);
    /* The copy gets no more permissions than the original, so that no one else can read it. */
    if (!status && (fstat(out.fd, &st) || fchmod(out.fd, st.st_mode & from->st_mode & 0777)))
        status = fail(why, "%.300s: %s", path, strerror(errno));
    if (!status) return output_close(&out, why);
    output_abandon(&out);
    return -1;
}

/* ---- all files ---- */

struct companions {
    struct {
        char *data; /* NULL if the file does not exist */
        struct stat st;
    } at[NAMES];
    char lack[600]; /* why the files of a GGUF's tokenizer are missing */
};

const char *companions_lack(const struct companions *all) { return all ? all->lack : ""; }

void companions_free(struct companions *all)
{
    for (int i = 0; all && i < NAMES; i++)
        free(all->at[i].data);
    free(all);
}

/* Makes the tokenizer's files from the keys of a GGUF. If its tokenizer is not supported, no files
 * are made, as for a folder that lacks them. */
static int make_files(struct companions *all, struct companions_place from, const char *path,
                      struct fail *why)
{
    struct gguf g;
    struct gguf_tokenizer made;
    if (gguf_open(&g, path, why)) return -1;
    int status = gguf_tokenizer_make(&made, &g, why);
    gguf_close(&g);
    if (status && why->status != STATUS_FAILED) {
        snprintf(all->lack, sizeof all->lack, "%.200s: %.390s", path, why->text);
        return 0;
    }
    if (status) return fail_in(why, path);
    for (int i = 0; i < NAMES && !status; i++) {
        bool is_json = !strcmp(names[i], "tokenizer.json");
        if (folder_of(from, names[i]) != path ||
            (!is_json && strcmp(names[i], "tokenizer_config.json") != 0))
            continue;
        char *text = is_json ? strdup(made.json) : json_text(made.config);
        if (!text || stat(path, &all->at[i].st)) {
            free(text);
            status = fail(why, "%.300s: out of memory", path);
            continue;
        }
        all->at[i].data = text;
        all->at[i].st.st_size = (off_t)strlen(text);
    }
    gguf_tokenizer_release(&made);
    return status;
}

uint64_t companions_bytes(const struct companions *all)
{
    uint64_t sum = 0;
    for (int i = 0; all && i < NAMES; i++)
        if (all->at[i].data) sum += (uint64_t)all->at[i].st.st_size;
    return sum;
}

static int check_folder(const char *path, struct fail *why)
{
    struct stat st;
    if (!path || gguf_is(path)) return 0;
    if (stat(path, &st)) return fail(why, "%.300s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail_usage(
            why, "%.300s: this is not a folder, so no tokenizer files can be copied from it", path);
    return 0;
}

static int index_of(const char *name)
{
    int i = 0;
    while (i < NAMES && strcmp(names[i], name) != 0)
        i++;
    must(i < NAMES);
    return i;
}

const char *companions_text(const struct companions *all, const char *name, size_t *bytes)
{
    int i = index_of(name);
    *bytes = all->at[i].data ? (size_t)all->at[i].st.st_size : 0;
    return all->at[i].data;
}

/* Reads a file if it exists; otherwise *data is NULL. The caller frees *data. */
static int read_one(const char *folder, const char *name, char **data, struct stat *st,
                    struct fail *why)
{
    char path[4200];
    int fd, found = open_one(folder, name, &fd, st, why);
    *data = NULL;
    if (found <= 0) return found;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *data = read_whole(fd, (size_t)st->st_size, path, why);
    close(fd);
    return *data ? 0 : -1;
}

/* Writes the list into tokenizer_config.json in memory. chat_template.jinja is then not copied,
 * because transformers would prefer it to the list. */
static int put_list(struct companions *all, const char *folder, const json_t *list,
                    struct fail *why)
{
    char path[4200];
    int to = index_of("tokenizer_config.json"), jinja = index_of("chat_template.jinja");
    size_t bytes = (size_t)all->at[to].st.st_size;
    snprintf(path, sizeof path, "%.4000s/tokenizer_config.json", folder);
    if (!all->at[to].data)
        return fail_input(why,
                          "%.300s: is missing, and the copy of additional_chat_templates would be "
                          "written into it: write {} to it, or move that folder away",
                          path);
    if (json_member_set(&all->at[to].data, &bytes, "chat_template", path, list, why)) return -1;
    all->at[to].st.st_size = (off_t)bytes;
    free(all->at[jinja].data);
    all->at[jinja].data = NULL;
    return 0;
}

/* Replaces the text of chat_template.jinja in memory. st: the status of the file with that text. */
static int put_default(struct companions *all, const char *text, const struct stat *st,
                       struct fail *why)
{
    int to = index_of("chat_template.jinja");
    free(all->at[to].data);
    all->at[to].data = strdup(text);
    all->at[to].st = *st;
    all->at[to].st.st_size = (off_t)strlen(text);
    return all->at[to].data ? 0 : fail(why, "out of memory");
}

static int add_template(json_t *list, const char *folder, const char *file, const char *data,
                        size_t bytes, struct fail *why)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/%s", folder, file);
    return named_templates_add(list, file, data, bytes, why) ? fail_in(why, path) : 0;
}

/* Reads the folder additional_chat_templates. If it has templates, the copies have what
 * transformers makes of them and of chat_template.jinja. */
static int read_templates(struct companions *all, const char *folder, struct fail *why)
{
    struct stat st = { 0 };
    size_t i, bytes;
    char *data;
    const char *own = companions_text(all, "chat_template.jinja", &bytes);
    json_t *files = named_templates_find(folder, why), *item, *list = json_array();
    int status = !files ? -1 : !list ? fail(why, "out of memory") : 0;
    if (!status && own && json_array_size(files))
        status = add_template(list, folder, "chat_template.jinja", own, bytes, why);
    json_array_foreach(files, i, item)
    {
        const char *file = json_string_value(item);
        if (status || (status = read_one(folder, file, &data, &st, why)) || !data) continue;
        status = add_template(list, folder, file, data, (size_t)st.st_size, why);
        free(data);
    }
    const char *only = named_templates_only_default(list);
    if (!status && only)
        status = put_default(all, only, &st, why);
    else if (!status && json_array_size(list))
        status = put_list(all, folder, list, why);
    json_decref(files);
    json_decref(list);
    return status;
}

int companions_read(struct companions **out, struct companions_place from, struct fail *why)
{
    *out = NULL;
    if (check_folder(from.folder, why) || check_folder(from.tokenizer, why)) return -1;
    struct companions *all = calloc(1, sizeof *all);
    int status = all ? 0 : fail(why, "out of memory");
    for (int i = 0; i < NAMES && !status; i++) {
        const char *folder = folder_of(from, names[i]);
        if (folder && !gguf_is(folder))
            status = read_one(folder, names[i], &all->at[i].data, &all->at[i].st, why);
    }
    const char *folder = folder_of(from, "chat_template.jinja");
    if (!status && folder && !gguf_is(folder)) status = read_templates(all, folder, why);
    const char *const places[2] = { from.folder, from.tokenizer };
    for (int i = 0; i < 2 && !status; i++)
        if (places[i] && gguf_is(places[i])) status = make_files(all, from, places[i], why);
    if (status)
        companions_free(all);
    else
        *out = all;
    return status;
}

bool companions_hold(const struct companions *all, const char *name)
{
    for (int i = 0; all && i < NAMES; i++)
        if (all->at[i].data && !strcmp(names[i], name)) return true;
    return false;
}

void companions_set(struct companions *all, const char *name, char *text, size_t bytes)
{
    int i = index_of(name);
    for (int j = 0; j < NAMES && !all->at[i].data; j++)
        if (all->at[j].data) {
            all->at[i].st = all->at[j].st;
            break;
        }
    free(all->at[i].data);
    all->at[i].data = text;
    all->at[i].st.st_size = (off_t)bytes;
}

int companions_write(const struct companions *all, const char *to, struct fail *why)
{
    for (int i = 0; all && i < NAMES; i++) {
        const char *data = all->at[i].data;
        const struct stat *st = &all->at[i].st;
        if (!data) continue;
        int stands = compare(to, names[i], data, (size_t)st->st_size, why);
        if (stands < 0 || (!stands && write_one(to, names[i], data, st, why))) return -1;
    }
    return 0;
}
