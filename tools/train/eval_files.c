#include "tools/train/eval_files.h"

#include "lib/common/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static void name_file(struct eval_file *files, int at)
{
    struct eval_file *f = &files[at];
    const char *from = file_name_in(f->path);
    const char *dot = strrchr(from, '.');
    size_t length = dot && dot > from ? (size_t)(dot - from) : strlen(from);
    if (length > EVAL_NAME - 8) length = EVAL_NAME - 8;
    for (size_t i = 0; i < length; i++)
        f->name[i] = is_plain(from[i]) ? from[i] : '_';
    f->name[length] = 0;
    for (int i = 0, more = 1; i < at; i++)
        if (!strcmp(files[i].name, f->name)) {
            snprintf(f->name + length, EVAL_NAME - length, "_%d", ++more);
            i = -1;
        }
}

/* Copies one path, without the spaces around it. A leading "~/" is the home directory. */
static int copy_path(char to[4096], const char *from, size_t length, struct fail *why)
{
    const char *home = getenv("HOME"), *before = "";
    while (length && *from == ' ')
        from++, length--;
    while (length && from[length - 1] == ' ')
        length--;
    if (!length) return fail_usage(why, "eval_file: the list has an empty path: remove a comma");
    if (length > 1 && from[0] == '~' && from[1] == '/' && home) {
        before = home;
        from++;
        length--;
    }
    if (strlen(before) + length >= 4096)
        return fail_usage(why, "eval_file: a path is longer than 4095 bytes: use a link to it");
    snprintf(to, 4096, "%s%.*s", before, (int)length, from);
    return 0;
}

/* True if both paths lead to the same file, even if they are written differently. */
static bool is_same_file(const char *a, const char *b)
{
    struct stat one, other;
    if (!strcmp(a, b)) return true;
    return !stat(a, &one) && !stat(b, &other) && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

int eval_files_parse(const char *given, struct eval_file files[EVAL_FILES_MAX], struct fail *why)
{
    int count = 0;
    if (!given) return 0;
    bool is_one = !strchr(given, ',') || !access(given, F_OK);
    for (const char *at = given;; at++) {
        size_t length = is_one ? strlen(at) : strcspn(at, ",");
        if (count == EVAL_FILES_MAX)
            return fail_usage(why, "eval_file: more than %d files: leave some out", EVAL_FILES_MAX);
        files[count] = (struct eval_file){ 0 };
        if (is_one)
            snprintf(files[count].path, sizeof files[count].path, "%s", at);
        else if (copy_path(files[count].path, at, length, why))
            return -1;
        for (int i = 0; i < count; i++)
            if (is_same_file(files[i].path, files[count].path))
                return fail_usage(why, "eval_file: %s occurs twice%s%s", files[i].path,
                                  strcmp(files[i].path, files[count].path) ? ", also as " : "",
                                  strcmp(files[i].path, files[count].path) ? files[count].path
                                                                           : "");
        name_file(files, count++);
        at += length;
        if (!*at) return count;
    }
}
