#include "json.h"

#include "file.h"
#include "output.h"

#include <errno.h>

json_t *json_read_text(const char *text, size_t bytes, const char *name, struct fail *why)
{
    json_error_t error;
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        fail_input(why, "%s: line %d, column %d: %s", name, error.line, error.column, error.text);
    return value;
}

json_t *json_read_file(const char *path, struct fail *why)
{
    uint64_t bytes;
    FILE *file = file_open_stdio(path, &bytes, why);
    if (!file) return NULL;
    json_t *value = NULL;
    if (bytes > JSON_FILE_MAX) {
        fail_input(why, "%s: %llu bytes, at most %d are read as JSON", path,
                   (unsigned long long)bytes, JSON_FILE_MAX);
    } else {
        char *text = malloc(bytes + 1);
        size_t got = text ? fread(text, 1, bytes, file) : 0;
        if (!text)
            fail(why, "%s: out of memory", path);
        else if (ferror(file))
            fail(why, "%s: cannot read: %s", path, strerror(errno));
        else if (got < bytes)
            fail_input(why, "%s: changed while it was read", path);
        else
            value = json_read_text(text, got, path, why);
        free(text);
    }
    fclose(file);
    return value;
}

int json_write_file(const json_t *value, const char *path, struct fail *why)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return fail(why, "%s: out of memory", path);
    size_t length = strlen(text);
    char *line = realloc(text, length + 2);
    if (line) {
        line[length] = '\n';
        line[length + 1] = 0;
    }
    int status = line ? output_text(path, line, why) : fail(why, "%s: out of memory", path);
    free(line ? line : text);
    return status;
}

int json_get_count(const json_t *object, const char *key, int64_t most, int64_t *value,
                   struct fail *why)
{
    const json_t *found = json_object_get(object, key);
    if (!found) return 0;
    if (!json_is_integer(found)) return fail_input(why, "'%s' is not a whole number", key);
    int64_t n = json_integer_value(found);
    if (n < 0 || n > most)
        return fail_input(why, "'%s' is %lld, not between 0 and %lld", key, (long long)n,
                          (long long)most);
    *value = n;
    return 0;
}

int json_get_real(const json_t *object, const char *key, double *value, struct fail *why)
{
    const json_t *found = json_object_get(object, key);
    if (!found || json_is_null(found)) return 0;
    if (!json_is_number(found)) return fail_input(why, "'%s' is not a number", key);
    *value = json_number_value(found);
    return 0;
}

int json_get_flag(const json_t *object, const char *key, bool *value, struct fail *why)
{
    const json_t *found = json_object_get(object, key);
    if (!found || json_is_null(found)) return 0;
    if (!json_is_boolean(found)) return fail_input(why, "'%s' is not true or false", key);
    *value = json_is_true(found);
    return 0;
}
