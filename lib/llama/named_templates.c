#include "lib/llama/named_templates.h"

#include "lib/common/file.h"
#include "lib/common/suffix.h"
#include "lib/common/utf8.h"

#include <errno.h>

static const char folder_name[] = "additional_chat_templates", end[] = ".jinja";

static int is_template(const struct dirent *e) { return suffix_is(e->d_name, end); }

json_t *named_templates_find(const char *folder, struct fail *why)
{
    char path[4200];
    struct dirent **entries;
    json_t *names = json_array();
    snprintf(path, sizeof path, "%.4000s/%s", folder, folder_name);
    int count = scandir(path, &entries, is_template, alphasort);
    int status = names ? 0 : fail(why, "out of memory");
    if (count < 0 && errno != ENOENT && errno != ENOTDIR)
        status = fail(why, "%.300s: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        json_t *name = status ? NULL : json_sprintf("%s/%s", folder_name, entries[i]->d_name);
        if (!status && (!name || json_array_append_new(names, name)))
            status = fail(why, "%.200s/%.200s: the name is not UTF-8: rename it", path,
                          entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0) free((void *)entries);
    if (!status) return names;
    json_decref(names);
    return NULL;
}

/* Copies a text, and turns \r\n and \r into \n. Returns the new length. */
static size_t copy_lines(char *to, const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != '\r')
            to[n++] = text[i];
        else if (i + 1 == bytes || text[i + 1] != '\n')
            to[n++] = '\n';
    return n;
}

int named_templates_add(json_t *list, const char *file, const char *text, size_t bytes,
                        struct fail *why)
{
    char name[256] = "default";
    size_t valid = utf8_valid_prefix(text, bytes), length = strlen(folder_name), i;
    if (valid < bytes) return fail_input(why, "byte %zu is not UTF-8: " UTF8_ADVICE, valid);
    if (memchr(text, 0, bytes))
        return fail_input(why, "contains a NUL character: fetch the file again");
    if (!strncmp(file, folder_name, length))
        snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - length - strlen(end) - 1),
                 file + length + 1);
    char *lines = malloc(bytes + 1);
    if (!lines) return fail(why, "out of memory");
    json_t *template = json_stringn(lines, copy_lines(lines, text, bytes)), *old;
    free(lines);
    json_array_foreach(list, i, old)
    {
        if (!strcmp(json_get_text(old, "name"), name))
            return json_object_set_new(old, "template", template) ? fail(why, "out of memory") : 0;
    }
    return json_array_append_new(list, json_pack("{s:s,s:o}", "name", name, "template", template))
               ? fail(why, "out of memory")
               : 0;
}

const char *named_templates_only_default(const json_t *list)
{
    const json_t *first = json_array_get(list, 0);
    bool is_only = json_array_size(list) == 1 && !strcmp(json_get_text(first, "name"), "default");
    return is_only ? json_get_text(first, "template") : NULL;
}
