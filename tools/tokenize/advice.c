#include "tools/tokenize/advice.h"

#include "lib/common/compiler.h"
#include "lib/common/json.h"
#include "lib/common/utf8.h"

/* True if a parser's message says that the input is not UTF-8. Our parser and jansson say it in
 * different words. */
static bool is_other_encoding(const char *reason)
{
    return strstr(reason, "invalid UTF-8") || strstr(reason, "unable to decode byte");
}

void advice_encoding(const char *reason, bool may_mend, char *advice, size_t size)
{
    *advice = 0;
    if (is_other_encoding(reason))
        snprintf(advice, size, " (" UTF8_ADVICE "%s)",
                 may_mend ? "; --on-error replace mends it" : "");
}

static bool has(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    return value && !json_is_null(value);
}

/* Returns the key of the line by which --format chat would recognise a conversation, or NULL. */
static const char *conversation_key(const json_t *line)
{
    if (json_is_array(json_object_get(line, "messages"))) return "messages";
    if (json_is_array(json_object_get(line, "conversations"))) return "conversations";
    static const char *const prompts[] = { "instruction", "prompt", "question", "query", "input" };
    static const char *const answers[] = { "output", "response", "completion", "answer" };
    for (size_t p = 0; p < sizeof prompts / sizeof *prompts; p++)
        for (size_t a = 0; has(line, prompts[p]) && a < sizeof answers / sizeof *answers; a++)
            if (has(line, answers[a])) return answers[a];
    return NULL;
}

/* Lists the first few keys with string values in the line and in the objects inside it. */
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

/* Is this element of a list a record with a text, instead of a part of a record, such as a message
 * of a conversation? */
static bool is_record(const json_t *element)
{
    static const char *const parts[] = { "role", "from", "label", "type" };
    char list[40] = "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (has(element, parts[i])) return false;
    return conversation_key(element) || list_strings(element, "", 0, list, sizeof list);
}

void advice_line(const char *text, size_t bytes, const char *text_key, enum json_place place,
                 char *advice, size_t size)
{
    char list[120] = "";
    struct fail ignored;
    json_t *line = json_read_line_of_reals(text, bytes, JSON_ALLOW_NUL, &ignored);
    const char *chat = conversation_key(line), *records = json_key_of_records(line, is_record);
    *advice = 0;
    if (!line && strstr(ignored.text, "duplicate object key"))
        snprintf(advice, size, ": a key occurs twice, and its last value counts");
    else if (!line)
        json_advise(text, bytes, place, advice, size);
    else if (!json_is_object(line))
        ;
    else if (json_at_path(line, text_key))
        snprintf(advice, size, ": its value is no string");
    else if (chat)
        snprintf(advice, size, ", but '%s': a conversation? (--format chat)", chat);
    else if (json_is_string(json_object_get(line, "raw_content")))
        snprintf(advice, size, ", but 'raw_content', as RedPajama v2 has (--text-key raw_content)");
    else if (records)
        snprintf(advice, size,
                 ", but a list of records under '%.40s': jq -c '.%.40s[]' makes a line of each",
                 records, records);
    else if (list_strings(line, "", 0, list, sizeof list))
        snprintf(advice, size, ", but %s (--text-key KEY)", list);
    json_decref(line);
}
