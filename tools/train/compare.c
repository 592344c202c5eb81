#include "tools/train/compare.h"

#include "lib/common/file.h"
#include "lib/common/suffix.h"
#include "lib/tensorfile/safetensors.h"
#include "model/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE = 1 << 16 };

/* Finds the first byte that differs. Returns 1 if there is one, 0 if the files are equal, and -1 if
 * `made` cannot be read. A `kept` that cannot be read differs, and a file that ends early differs
 * at its end. */
static int first_difference(const char *made, const char *kept, int64_t *at, struct fail *why)
{
    struct fail damage;
    static char one[PIECE], other[PIECE];
    int a = file_open(made, NULL, why), b = a < 0 ? -1 : file_open(kept, NULL, &damage);
    int status = a < 0 ? -1 : b < 0;
    *at = 0;
    while (!status) {
        int64_t n = file_read_full(a, one, PIECE, why), i = 0;
        int64_t m = file_read_full(b, other, PIECE, &damage);
        if (n < 0) status = -1;
        while (i < n && i < m && one[i] == other[i])
            i++;
        *at += i;
        if (!status && (i < n || i < m || m < 0)) status = 1;
        if (n <= 0) break;
    }
    if (a >= 0) close(a);
    if (b >= 0) close(b);
    return status;
}

/* Names the line of a text file in which the byte `at` lies. */
static void name_line(const char *path, int64_t at, char *text, size_t size)
{
    struct fail ignored;
    char *data = NULL;
    size_t bytes = 0, line = 1;
    if (!file_read(path, JSON_FILE_MAX, &data, &bytes, &ignored))
        for (size_t i = 0; i < bytes && (int64_t)i < at; i++)
            line += data[i] == '\n';
    free(data);
    snprintf(text, size, "line %zu", line);
}

/* Names the tensor in whose data the byte `at` lies. */
static int name_tensor(const char *path, int64_t at, char *text, size_t size, struct fail *why)
{
    struct tensor_file file;
    if (safetensors_open(&file, path, why)) return -1;
    snprintf(text, size, "the header");
    for (size_t i = 0; i < file.count; i++) {
        int64_t first = (const char *)file.at[i].data - (const char *)file.map;
        if (at >= first && at < first + (int64_t)file.at[i].bytes)
            snprintf(text, size, "the tensor %.160s", file.at[i].name);
    }
    tensor_file_close(&file);
    return 0;
}

/* Names the part of a file in which the byte `at` lies. */
static int name_part(const char *made, const char *kept, int64_t at, char *text, size_t size,
                     struct fail *why)
{
    if (suffix_is(made, "/training_state")) return checkpoint_part(made, kept, at, text, size, why);
    if (suffix_is(made, ".safetensors")) return name_tensor(made, at, text, size, why);
    if (suffix_is(made, ".json") || suffix_is(made, ".jsonl"))
        name_line(made, at, text, size);
    else
        snprintf(text, size, "byte %lld", (long long)at);
    return 0;
}

/* Compares the values of two JSON files. */
static int compare_json(const char *made, const char *kept, char *text, size_t size,
                        struct fail *why)
{
    struct fail damage;
    json_t *a = json_read_file(made, why), *b = a ? json_read_file(kept, &damage) : NULL;
    int status = !a ? -1 : !b || !json_equal(a, b);
    json_decref(a);
    json_decref(b);
    snprintf(text, size, "its values");
    return status;
}

static int compare_file(const char *made, const char *kept, const char *name, char *text,
                        size_t size, struct fail *why)
{
    char one[4200 + 256], other[4200 + 256], part[300];
    int64_t at = 0;
    snprintf(one, sizeof one, "%s/%s", made, name);
    snprintf(other, sizeof other, "%s/%s", kept, name);
    bool is_manifest = !strcmp(name, "manifest.json");
    if (access(other, R_OK)) {
        bool is_absent = errno == ENOENT;
        snprintf(text, size, "%s: %s%s", name,
                 is_absent ? "it is not there" : "it cannot be read: ",
                 is_absent ? "" : strerror(errno));
        return is_absent ? COMPARED_ABSENT : COMPARED_UNREADABLE;
    }
    int differs = is_manifest ? compare_json(one, other, part, sizeof part, why)
                              : first_difference(one, other, &at, why);
    if (differs <= 0) return differs;
    if (!is_manifest && name_part(one, other, at, part, sizeof part, why)) return -1;
    snprintf(text, size, "%s: %s", name, part);
    return COMPARED_CHANGED;
}

int compare_folders(const char *made, const char *kept, char *text, size_t size, struct fail *why)
{
    struct dirent **names;
    int status = 0, count = scandir(made, &names, NULL, alphasort);
    if (count < 0) return fail(why, "%s: %s", made, strerror(errno));
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        /* The manifest is compared last, because it differs if any other file does. */
        if (!status && name[0] != '.' && strcmp(name, "manifest.json") != 0)
            status = compare_file(made, kept, name, text, size, why);
        free(names[i]);
    }
    free(names);
    char manifest[4200 + 32];
    snprintf(manifest, sizeof manifest, "%s/manifest.json", made);
    if (!status && !access(manifest, F_OK))
        status = compare_file(made, kept, "manifest.json", text, size, why);
    return status;
}
