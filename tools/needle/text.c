#include "tools/needle/text.h"

#include "lib/common/buffer.h"

#include <string.h>

int text_add(struct text *t, const char *more, size_t bytes, struct fail *why)
{
    if (buffer_reserve(&t->at, &t->capacity, t->bytes, bytes + 1, why)) return -1;
    if (bytes) memcpy(t->at + t->bytes, more, bytes);
    t->bytes += bytes;
    t->at[t->bytes] = 0;
    return 0;
}

int text_add_word(struct text *t, const char *word, struct fail *why)
{
    return text_add(t, word, strlen(word), why);
}

/* Appends the value of the name that has `length` bytes at `name`. */
static int add_value(struct text *t, const char *name, size_t length,
                     const struct text_value *values, struct fail *why)
{
    for (const struct text_value *v = values; v->name; v++)
        if (strlen(v->name) == length && !memcmp(v->name, name, length))
            return text_add_word(t, v->value, why);
    char known[160] = "";
    for (const struct text_value *v = values; v->name; v++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s{%s}", used ? ", " : "", v->name);
    }
    return fail_input(why, "{%.*s} is not a placeholder: there are %s; write {{ for a brace",
                      (int)(length < 40 ? length : 40), name, known);
}

int text_add_wording(struct text *t, const char *wording, const struct text_value *values,
                     struct fail *why)
{
    for (const char *at = wording; *at;) {
        size_t plain = strcspn(at, "{}");
        if (text_add(t, at, plain, why)) return -1;
        at += plain;
        if (!*at) break;
        if (at[1] == at[0]) {
            if (text_add(t, at, 1, why)) return -1;
            at += 2;
            continue;
        }
        size_t length = strcspn(at + 1, "{}");
        if (at[0] != '{' || at[1 + length] != '}')
            return fail_input(why, "a brace stands alone: write {{ or }} for a brace of the text");
        if (add_value(t, at + 1, length, values, why)) return -1;
        at += length + 2;
    }
    return 0;
}
