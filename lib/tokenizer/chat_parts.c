/* chat_parts.c - reads the text of a message: a string, or a list of parts. Only parts of type
 * "text" are read. */
#include "lib/tokenizer/chat_internal.h"

int chat_check_nul(struct chat_reading *r, const json_t *text, const char *key)
{
    if (strlen(json_string_value(text)) == json_string_length(text)) return 0;
    return chat_refuse(r, CHAT_UNREADABLE, "'%s' holds a NUL character", key);
}

/* The reason for refusing a part that is not text. */
static enum chat_reason reason_of(const char *type)
{
    if (!strcmp(type, "reasoning") || !strcmp(type, "thinking")) return CHAT_REASONING;
    return strstr(type, "tool") || strstr(type, "function") ? CHAT_TOOLS : CHAT_MEDIA;
}

/* Sets *text to the part's text, which is under "text" (OpenAI) or "value" (LLaMA-Factory). Returns
 * 1 if the part is left out. */
static int read_part(struct chat_reading *r, const json_t *part, size_t number, const char *key,
                     const json_t **text)
{
    const json_t *kind = json_object_get(part, "type");
    const char *type = json_string_value(kind);
    if (!json_is_object(part))
        return chat_refuse(r, CHAT_UNREADABLE, "'%s' is a list, where one text is needed", key);
    if (!type) return chat_refuse(r, CHAT_UNREADABLE, "part %zu of '%s' has no type", number, key);
    if (chat_check_nul(r, kind, "type")) return -1;
    if (strcmp(type, "text") != 0) {
        enum chat_reason reason = reason_of(type);
        if (reason == CHAT_REASONING && chat_repairs(r, CHAT_REPAIR_REASONING)) return 1;
        return chat_refuse(r, reason, "'%s' holds a part of type '%.40s': only text is understood",
                           key, type);
    }
    *text = chat_value(part, "text");
    if (!*text) *text = chat_value(part, "value");
    if (json_is_string(*text)) return chat_check_nul(r, *text, key);
    return chat_refuse(r, CHAT_UNREADABLE, "part %zu of '%s' has no text", number, key);
}

/* Appends a part at *to, whose text so far begins at `text`. Returns the new end of the text. */
static char *append_part(char *text, char *to, const json_t *part, bool is_first,
                         enum chat_parts parts)
{
    size_t n = json_string_length(part);
    bool is_line = parts == CHAT_PARTS_LINES ? !is_first : to > text;
    if (is_line && parts != CHAT_PARTS_TRIMMED) *to++ = '\n';
    memcpy(to, json_string_value(part), n);
    to[n] = 0;
    if (parts != CHAT_PARTS_TRIMMED) return to + n;
    chat_strip(to);
    return to + strlen(to);
}

static int join_parts(struct chat_reading *r, const json_t *list, const char *key,
                      enum chat_parts parts, char **text)
{
    size_t count = json_array_size(list), kept = 0, bytes = 1;
    const json_t **texts = malloc((count + 1) * sizeof *texts);
    int left_out = texts ? 0 : fail(r->why, "out of memory");
    for (size_t i = 0; left_out >= 0 && i < count; i++) {
        left_out = read_part(r, json_array_get(list, i), i + 1, key, &texts[kept]);
        if (!left_out) bytes += json_string_length(texts[kept++]) + 1;
    }
    char *at = left_out < 0 ? NULL : malloc(bytes);
    if (left_out >= 0 && !at) left_out = fail(r->why, "out of memory");
    *text = at;
    if (at) *at = 0;
    for (size_t i = 0; at && i < kept; i++)
        at = append_part(*text, at, texts[i], !i, parts);
    free(texts);
    return left_out < 0 ? -1 : 0;
}

static int read_text(struct chat_reading *r, const json_t *value, const char *key,
                     enum chat_parts parts, char **text)
{
    *text = NULL;
    if (json_is_array(value)) return join_parts(r, value, key, parts, text);
    if (!json_is_string(value)) return chat_refuse(r, CHAT_UNREADABLE, "'%s' is no text", key);
    if (chat_check_nul(r, value, key)) return -1;
    *text = strdup(json_string_value(value));
    return *text ? 0 : fail(r->why, "out of memory");
}

int chat_text_of(struct chat_reading *r, const json_t *value, const char *key, char **text)
{
    return read_text(r, value, key, r->how->parts, text);
}

int chat_system_of(struct chat_reading *r, const json_t *value, const char *key, char **text)
{
    enum chat_parts parts = r->how->parts;
    if (parts == CHAT_PARTS_TRIMMED && json_array_size(value) > 1)
        return chat_refuse(r, CHAT_UNSUPPORTED,
                           "'%s' of the system prompt has %zu parts, of which the template would "
                           "write only the first: write one text",
                           key, json_array_size(value));
    return read_text(r, value, key, parts == CHAT_PARTS_TRIMMED ? CHAT_PARTS_LINES : parts, text);
}
