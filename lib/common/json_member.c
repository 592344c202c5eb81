#include "lib/common/json_member.h"

#include "lib/common/json.h"
#include "lib/common/json_scan.h"

#include <stdlib.h>

/* What a scan of the whole object found. */
struct found {
    struct json_member member;
    bool is_there;
    size_t count; /* members of the object */
    size_t end;   /* where the last value ends, or behind the opening brace */
};

/* Reads the key, and sets *is_it if it is the one that is sought. */
static int read_key(struct json_scan *s, const char *key, bool *is_it)
{
    size_t size = json_scan_longest(s);
    char *text = malloc(size + 1);
    if (!text) return fail(s->why, "out of memory");
    int status = json_scan_key(s, text, size);
    *is_it = !status && !strcmp(text, key);
    free(text);
    return status;
}

static int scan(const char *text, size_t bytes, const char *key, const char *name, struct found *f,
                struct fail *why)
{
    struct json_scan s = json_scan_begin(name, text, bytes, why);
    *f = (struct found){ 0 };
    int more = json_scan_open(&s, '{') ? -1 : 1;
    f->end = (size_t)(s.at - s.start);
    while (more > 0 && (more = json_scan_more(&s, &f->count)) > 0) {
        bool is_it;
        if (read_key(&s, key, &is_it)) return -1;
        (void)json_scan_kind(&s); /* skips the white space before the value */
        size_t at = (size_t)(s.at - s.start);
        if (json_scan_skip(&s)) return -1;
        f->end = (size_t)(s.at - s.start);
        if (is_it) f->member = (struct json_member){ at, f->end - at };
        f->is_there = f->is_there || is_it;
    }
    return more || json_scan_end(&s) ? -1 : 0;
}

int json_member_find(const char *text, size_t bytes, const char *key, const char *name,
                     struct json_member *member, struct fail *why)
{
    struct found f;
    if (scan(text, bytes, key, name, &f, why)) return -1;
    *member = f.member;
    return f.is_there;
}

int json_member_read(const char *text, size_t bytes, const char *key, const char *name,
                     json_t **value, struct fail *why)
{
    struct json_member m;
    char place[160];
    *value = NULL;
    int found = json_member_find(text, bytes, key, name, &m, why);
    if (found <= 0 || !strncmp(text + m.at, "null", 4)) return found < 0 ? -1 : 0;
    snprintf(place, sizeof place, "%.80s: %.60s", name, key);
    *value = json_read_text(text + m.at, m.length, place, why);
    return *value ? 0 : -1;
}

/* Returns the value as text, indented like the value of a member. */
static char *dump_member(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
    size_t lines = 0, length = 0;
    for (const char *c = text; c && *c; c++, length++)
        lines += *c == '\n';
    char *to = text ? malloc(length + 2 * lines + 1) : NULL, *end = to;
    for (const char *c = text; to && *c; c++) {
        *end++ = *c;
        if (*c == '\n') end = stpcpy(end, "  ");
    }
    if (to) *end = 0;
    free(text);
    return to;
}

/* Returns what stands between the object's other members and the new value: ', "key": '. */
static char *spell_key(const char *key, bool is_first)
{
    char *spelled;
    json_t *text = json_string(key);
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    if (!quoted || asprintf(&spelled, "%s\n  %s: ", is_first ? "" : ",", quoted) < 0)
        spelled = NULL;
    free(quoted);
    json_decref(text);
    return spelled;
}

int json_member_set(char **text, size_t *bytes, const char *key, const char *name,
                    const json_t *value, struct fail *why)
{
    struct found f;
    char *whole = NULL;
    if (scan(*text, *bytes, key, name, &f, why)) return -1;
    char *before = f.is_there ? strdup("") : spell_key(key, !f.count), *own = dump_member(value);
    const char *after = f.is_there || f.count ? "" : "\n";
    int from = (int)(f.is_there ? f.member.at : f.end);
    size_t rest = (size_t)from + f.member.length;
    int length = before && own ? asprintf(&whole, "%.*s%s%s%s%.*s", from, *text, before, own, after,
                                          (int)(*bytes - rest), *text + rest)
                               : -1;
    free(before);
    free(own);
    if (length < 0) return fail(why, "out of memory");
    free(*text);
    *text = whole;
    *bytes = (size_t)length;
    return 0;
}
