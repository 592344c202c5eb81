#include "chat_record.h"

#include "json.h"
#include "utf8.h"

/* What Python's str.strip() takes away. */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static char *strip(const char *text)
{
    const char *start = NULL, *end = NULL;
    for (size_t n; *text; text += n) {
        if (is_space(utf8_decode(text, &n))) continue;
        if (!start) start = text;
        end = text + n;
    }
    return start ? strndup(start, (size_t)(end - start)) : strdup("");
}

void chat_release(struct chat *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->turns[i].prompt);
        free(c->turns[i].answer);
    }
    free(c->turns);
    free(c->system);
    free(c->source);
    *c = (struct chat){ 0 };
}

static int copy_stripped(char **to, const json_t *value, const char *key, struct fail *why)
{
    const char *text = json_string_value(value);
    if (!text) return fail_input(why, "no string '%s'", key);
    if (strlen(text) != json_string_length(value))
        return fail_input(why, "'%s' holds a NUL character", key);
    *to = strip(text);
    return *to ? 0 : fail(why, "out of memory");
}

enum speaker { SPEAKER_SYSTEM, SPEAKER_USER, SPEAKER_ASSISTANT, SPEAKER_UNKNOWN };

static enum speaker speaker_of(const char *role)
{
    if (!role) return SPEAKER_UNKNOWN;
    if (!strcmp(role, "system")) return SPEAKER_SYSTEM;
    if (!strcmp(role, "user") || !strcmp(role, "human")) return SPEAKER_USER;
    if (!strcmp(role, "assistant") || !strcmp(role, "gpt")) return SPEAKER_ASSISTANT;
    return SPEAKER_UNKNOWN;
}

static int read_message(struct chat *c, size_t number, const json_t *message, const char *role_key,
                        const char *text_key, struct fail *why)
{
    const char *role = json_string_value(json_object_get(message, role_key));
    const json_t *text = json_object_get(message, text_key);
    enum speaker who = speaker_of(role);
    bool wants_answer = c->count && !c->turns[c->count - 1].answer;
    if (who == SPEAKER_UNKNOWN)
        return role ? fail_input(why,
                                 "message %zu: '%s' is '%.40s': known are system, user (or human) "
                                 "and assistant (or gpt)",
                                 number, role_key, role)
                    : fail_input(why, "message %zu: no '%s' with '%s' in it", number, role_key,
                                 text_key);
    if (who == SPEAKER_SYSTEM && number == 1) return copy_stripped(&c->system, text, text_key, why);
    if (who != (wants_answer ? SPEAKER_ASSISTANT : SPEAKER_USER))
        return fail_input(why, "message %zu: a %s was expected", number,
                          wants_answer ? "assistant's answer" : "user's prompt");
    if (wants_answer) return copy_stripped(&c->turns[c->count - 1].answer, text, text_key, why);
    return copy_stripped(&c->turns[c->count++].prompt, text, text_key, why);
}

static int read_messages(struct chat *c, const json_t *list, const char *role_key,
                         const char *text_key, struct fail *why)
{
    size_t i;
    json_t *message;
    c->turns = calloc(json_array_size(list) + 1, sizeof *c->turns);
    if (!c->turns) return fail(why, "out of memory");
    json_array_foreach(list, i, message)
    {
        if (read_message(c, i + 1, message, role_key, text_key, why)) return -1;
    }
    if (!json_is_array(list)) return fail_input(why, "its messages are no list");
    if (!c->count || !c->turns[c->count - 1].answer)
        return fail_input(why, "the conversation does not end with an answer");
    return 0;
}

static int read_pair(struct chat *c, const json_t *object, struct fail *why)
{
    if (!json_object_get(object, "input") && !json_object_get(object, "output"))
        return fail_input(why,
                          "none of 'messages', 'conversations', 'input' and 'output': no "
                          "conversation%s",
                          json_object_get(object, "text") ? " but a text (--format jsonl)" : "");
    c->turns = calloc(1, sizeof *c->turns);
    if (!c->turns) return fail(why, "out of memory");
    c->count = 1;
    if (copy_stripped(&c->turns->prompt, json_object_get(object, "input"), "input", why)) return -1;
    return copy_stripped(&c->turns->answer, json_object_get(object, "output"), "output", why);
}

static const json_t *follow(const json_t *object, const char *path)
{
    char key[256];
    while (object && *path) {
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        object = json_object_get(object, key);
        path += n + (path[n] == '.');
    }
    return object;
}

int chat_parse(struct chat *c, const char *line, size_t bytes, const char *source_key,
               struct fail *why)
{
    *c = (struct chat){ 0 };
    json_t *object = json_read_line(line, bytes, JSON_ALLOW_NUL, why);
    if (!object) return -1;
    const json_t *messages = json_object_get(object, "messages");
    const json_t *conversations = json_object_get(object, "conversations");
    int status = !json_is_object(object) ? fail_input(why, "not a JSON object")
                 : messages              ? read_messages(c, messages, "role", "content", why)
                 : conversations         ? read_messages(c, conversations, "from", "value", why)
                                         : read_pair(c, object, why);
    const char *source = json_string_value(follow(object, source_key));
    if (!status && source) c->source = strdup(source);
    json_decref(object);
    if (status) chat_release(c);
    return status;
}
