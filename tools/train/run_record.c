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

bool run_record_is_sound(const json_t *record)
{
    return json_is_object(json_object_get(record, "run")) &&
           is_list(json_object_get(record, "files")) &&
           is_list(json_object_get(record, "folders")) &&
           is_mark(json_string_value(json_object_get(record, "mark")));
}

bool run_record_lists(const json_t *record, const char *name)
{
    return json_object_get(json_object_get(record, "files"), name) ||
           json_object_get(json_object_get(record, "folders"), name);
}
