#include "tools/train/run_record.h"

#include "lib/common/file.h"

#include <string.h>

static bool is_mark(const char *mark)
{
    static const char prefix[] = RUN_MARK;
    enum { PREFIX = sizeof prefix - 1, DIGITS = 16 };
    return mark && !strncmp(mark, prefix, PREFIX) && strlen(mark) == PREFIX + DIGITS &&
           strspn(mark + PREFIX, "0123456789abcdef") == DIGITS;
}

/* True for a name in the folder itself, or of an event file in runs/. */
static bool is_name(const char *name)
{
    static const char events[] = "runs/";
    if (!strncmp(name, events, sizeof events - 1)) name += sizeof events - 1;
    return *name && !file_is_dots(name) && !strchr(name, '/');
}

/* True for an object that maps names to lists of digests. */
static bool is_list(const json_t *list)
{
    const char *name;
    json_t *digests;
    bool is_sound = json_is_object(list);
    json_object_foreach((json_t *)list, name, digests)
    {
        is_sound = is_sound && is_name(name) && json_is_array(digests);
    }
    return is_sound;
}

/* True for the value of an entry that is missing, or names a folder. */
static bool is_place(const json_t *value)
{
    return !value || (json_is_string(value) && is_name(json_string_value(value)));
}

/* True for the object "replaced", or if there is none. */
static bool is_earlier(const json_t *replaced)
{
    const char *mark = json_string_value(json_object_get(replaced, "mark"));
    return !replaced || (is_place(json_object_get(replaced, "name")) && is_mark(mark));
}

bool run_record_is_sound(const json_t *record)
{
    return is_place(json_object_get(record, "moving")) &&
           is_earlier(json_object_get(record, "replaced")) &&
           json_is_object(json_object_get(record, "run")) &&
           is_list(json_object_get(record, "files")) &&
           is_list(json_object_get(record, "folders")) &&
           is_mark(json_string_value(json_object_get(record, "mark")));
}

bool run_record_lists(const json_t *record, const char *name)
{
    return json_object_get(json_object_get(record, "files"), name) ||
           json_object_get(json_object_get(record, "folders"), name);
}
