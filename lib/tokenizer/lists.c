#include "lib/tokenizer/lists.h"

#include <stdlib.h>
#include <string.h>

/* ---- where the lists are ---- */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* Skips a string, eight bytes at a time (little-endian). Returns NULL if it has no end. */
static const char *skip_string(const char *at, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    at++;
    for (uint64_t x; end - at >= 8; at += 8) {
        memcpy(&x, at, 8);
        uint64_t quote = x ^ '"' * ones, slash = x ^ '\\' * ones;
        uint64_t found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & tops;
        if (!found) continue;
        at += __builtin_ctzll(found) / 8;
        if (*at == '"') return at + 1;
        at += 2 - 8;
    }
    for (; at < end; at += *at == '\\' ? 2 : 1)
        if (*at == '"') return at + 1;
    return NULL;
}

/* Skips a value by its brackets and strings. Returns NULL if it has no end. */
static const char *skip_value(const char *at, const char *end)
{
    size_t depth = 0;
    at = skip_space(at, end);
    while (at && at < end) {
        char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            if (!depth) return at;
            continue;
        }
        if (!depth && (c == ',' || c == '}' || c == ']')) return at;
        at++;
        depth += c == '{' || c == '[';
        if ((c == '}' || c == ']') && !--depth) return at;
    }
    return NULL;
}

/* Returns where the value of the key begins; NULL if the object has no such key. */
static const char *find_member(const char *at, const char *end, const char *key)
{
    size_t length = strlen(key);
    at = skip_space(at, end);
    if (at == end || *at++ != '{') return NULL;
    while (at && (at = skip_space(at, end)) < end && *at == '"') {
        const char *name = at + 1;
        at = skip_string(at, end);
        if (!at || (at = skip_space(at, end)) == end || *at++ != ':') return NULL;
        if (!strncmp(name, key, length) && name[length] == '"') return skip_space(at, end);
        at = skip_value(at, end);
        if (at && (at = skip_space(at, end)) < end) at++;
    }
    return NULL;
}

static size_t append(char *to, const char *from, const char *end)
{
    memcpy(to, from, (size_t)(end - from));
    return (size_t)(end - from);
}

int lists_find(struct lists *l, const char *text, size_t bytes, struct fail *why)
{
    static const char *const keys[LISTS] = { "vocab", "merges" };
    const char *end = text + bytes, *model = find_member(text, end, "model"), *from = text;
    *l = (struct lists){ .rest = malloc(bytes + 1) };
    if (!l->rest) return fail(why, "out of memory");
    for (int i = 0; i < LISTS && model; i++) {
        const char *at = find_member(model, end, keys[i]);
        const char *after = at && at < end && *at == "{["[i] ? skip_value(at, end) : NULL;
        if (!after) continue;
        l->at[i] = at;
        l->bytes[i] = (size_t)(after - at);
    }
    bool is_swapped = l->at[LIST_MERGES] && l->at[LIST_MERGES] < l->at[LIST_VOCAB];
    for (int i = 0; i < LISTS; i++) {
        int next = is_swapped ? LISTS - 1 - i : i;
        if (!l->at[next]) continue;
        l->rest_bytes += append(l->rest + l->rest_bytes, from, l->at[next]);
        memcpy(l->rest + l->rest_bytes, next == LIST_VOCAB ? "{}" : "[]", 2);
        l->rest_bytes += 2;
        from = l->at[next] + l->bytes[next];
    }
    l->rest_bytes += append(l->rest + l->rest_bytes, from, end);
    return 0;
}

void lists_release(struct lists *l)
{
    free(l->rest);
    *l = (struct lists){ 0 };
}

/* ---- what is in them ---- */

struct list_scan lists_begin(const struct lists *l, enum list_name name, struct fail *why)
{
    return (struct list_scan){ .json = json_scan_begin(name == LIST_VOCAB ? "vocab" : "merges",
                                                       l->at[name], l->bytes[name], why) };
}

static int next(struct list_scan *s, char open)
{
    if (!s->is_open && json_scan_open(&s->json, open)) return -1;
    s->is_open = true;
    return json_scan_more(&s->json, &s->count);
}

int lists_next_piece(struct list_scan *s, const char **text, int64_t *id)
{
    bool is_whole = false;
    double real;
    int got = next(s, '{');
    if (got <= 0) return got;
    if (json_scan_key(&s->json, s->text, sizeof s->text)) return -1;
    *text = s->text;
    char c = json_scan_kind(&s->json);
    if (c == '-' || (c >= '0' && c <= '9')) {
        if (json_scan_number(&s->json, &is_whole, id, &real)) return -1;
    } else if (json_scan_skip(&s->json)) {
        return -1;
    }
    if (!is_whole) *id = -1;
    return 1;
}

/* Reads [left, right], one after the other into s->text. */
static int read_pair(struct list_scan *s, const char *parts[2])
{
    size_t count = 0, used = 0;
    int got;
    if (json_scan_open(&s->json, '[')) return -1;
    parts[0] = parts[1] = NULL;
    while ((got = json_scan_more(&s->json, &count)) > 0) {
        bool is_part = count <= 2 && json_scan_kind(&s->json) == '"';
        if (!is_part) {
            parts[0] = NULL;
            if (json_scan_skip(&s->json)) return -1;
            continue;
        }
        if (json_scan_text(&s->json, s->text + used, sizeof s->text - used)) return -1;
        parts[count - 1] = s->text + used;
        used += strlen(s->text + used) + 1;
        if (used == sizeof s->text) used--; /* then the second part cannot be read */
    }
    if (!parts[0] || !parts[1]) parts[0] = parts[1] = NULL;
    return got < 0 ? -1 : 1;
}

int lists_next_merge(struct list_scan *s, const char *parts[2])
{
    int got;
    while ((got = next(s, '[')) > 0) {
        char c = json_scan_kind(&s->json);
        if (c == '[') return read_pair(s, parts);
        parts[0] = parts[1] = NULL;
        if (c != '"') return json_scan_skip(&s->json) ? -1 : 1;
        if (json_scan_text(&s->json, s->text, sizeof s->text)) return -1;
        if (!strncmp(s->text, "#version", 8)) continue;
        char *space = strchr(s->text, ' ');
        if (!space || strchr(space + 1, ' ')) return 1;
        *space = 0;
        parts[0] = s->text;
        parts[1] = space + 1;
        return 1;
    }
    return got;
}
