#include "advice.h"

#include "../../lib/common/compiler.h"
#include "../../lib/common/json.h"

bool advise_file(const char *line, size_t bytes, char *advice, size_t size)
{
    static const struct {
        const char *magic, *advice;
        size_t bytes;
    } files[] = {
        { "\xef\xbb\xbf", ": a byte order mark begins the file: leave it out", 3 },
        { "\xff\xfe", ": UTF-16 or another binary file: UTF-8 is needed", 2 },
        { "\xfe\xff", ": UTF-16 or another binary file: UTF-8 is needed", 2 },
        { "\x1f\x8b", " but gzip: gzip -dc FILE | tokenize", 2 },
        { "\xfd"
          "7zXZ",
          " but xz: xz -dc FILE | tokenize", 5 },
        { "BZh", " but bzip2: bzip2 -dc FILE | tokenize", 3 },
        { "PAR1", " but parquet: JSON lines are needed", 4 },
        { "PK\x03\x04", " but a zip: JSON lines are needed", 4 },
        { "[", " but an array: one object a line is needed (jq -c '.[]' makes that)", 1 },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (bytes >= files[i].bytes && !memcmp(line, files[i].magic, files[i].bytes)) {
            snprintf(advice, size, "%s", files[i].advice);
            return true;
        }
    if (memmem(line, bytes < 40 ? bytes : 40, "longqlora", 9))
        snprintf(advice, size, " but a stream of ours (--decode, or --from stream)");
    else if (bytes && *line != '{')
        snprintf(advice, size, " (plain text? --format text)");
    return *advice;
}

static bool has(const json_t *line, const char *key) { return json_object_get(line, key) != NULL; }

/* One that --format chat reads. */
static const char *conversation_key(const json_t *line)
{
    if (json_is_array(json_object_get(line, "messages"))) return "messages";
    if (json_is_array(json_object_get(line, "conversations"))) return "conversations";
    return has(line, "input") && has(line, "output") && !has(line, "instruction") ? "output" : NULL;
}

/* The first few keys of strings, of the line and of the objects in it. */
static int list_strings(const json_t *object, const char *above, int count, char *list, size_t size)
{
    enum { MOST = 5 };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t used = strlen(list);
        if (json_is_object(value) && !*above) count = list_strings(value, key, count, list, size);
        if (!json_is_string(value) || count == MOST) continue;
        if (used + strlen(above) + strlen(key) + 6 > size) return count;
        snprintf(list + used, size - used, "%s'%s%s%s'", count++ ? ", " : "", above,
                 *above ? "." : "", key);
    }
    return count;
}

void advise_line(const char *text, size_t bytes, const char *text_key, char *advice, size_t size)
{
    char list[120] = "";
    struct fail ignored;
    json_t *line = json_read_line(text, bytes, JSON_ALLOW_NUL, &ignored);
    const char *chat = conversation_key(line);
    bool is_brace = bytes && *text == '{' && strspn(text + 1, " \t\r") + 1 >= bytes;
    *advice = 0;
    if (is_brace)
        snprintf(advice, size, " (an object over many lines? one a line is needed: jq -c .)");
    else if (!json_is_object(line))
        ;
    else if (has(line, text_key))
        snprintf(advice, size, ": its value is no string");
    else if (chat)
        snprintf(advice, size, ", but '%s': a conversation? (--format chat)", chat);
    else if (json_is_string(json_object_get(line, "raw_content")))
        snprintf(advice, size, ", but 'raw_content', as RedPajama v2 has (--text-key raw_content)");
    else if (list_strings(line, "", 0, list, sizeof list))
        snprintf(advice, size, ", but %s (--text-key KEY)", list);
    json_decref(line);
}
