#include "advice.h"

#include "../../lib/common/compiler.h"
#include "../../lib/common/json.h"

bool advise_file(const char *line, size_t bytes, char *advice, size_t size)
{
    *advice = 0;
    if (bytes && !strchr("{[\"", *line)) snprintf(advice, size, " (plain text? --format text)");
    return *advice;
}

static const char many_lines[] = " (an object over many lines? one a line is needed: jq -c .)";

static bool is_open_brace(const char *line, size_t bytes)
{
    return bytes && *line == '{' && strspn(line + 1, " \t\r") + 1 >= bytes;
}

void advise_chat(const char *line, size_t bytes, char *advice, size_t size)
{
    *advice = 0;
    if (is_open_brace(line, bytes))
        snprintf(advice, size, "%s", many_lines);
    else if (bytes && !strchr("{[\"", *line) &&
             (memchr(line, ',', bytes) || memchr(line, '\t', bytes)))
        snprintf(advice, size,
                 " (a table? in Python pandas.read_csv(FILE).to_json('FILE.jsonl', "
                 "orient='records', lines=True) makes JSON lines of it)");
    else if (bytes && !strchr("{[\"", *line))
        snprintf(advice, size, " (plain text? --format text)");
}

static bool has(const json_t *line, const char *key) { return json_object_get(line, key) != NULL; }

/* One that --format chat reads. */
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
    *advice = 0;
    if (is_open_brace(text, bytes))
        snprintf(advice, size, "%s", many_lines);
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
