#include "lib/common/fail.h"

#include <stdarg.h>
#include <unistd.h>

/* The position where the character that contains text[at] begins. */
static size_t before_character(const char *text, size_t at)
{
    for (int i = 0; i < 3 && at && (text[at] & 0xc0) == 0x80; i++)
        at--;
    return at;
}

void fail_fit(char *text, size_t size, const char *whole)
{
    static const char gap[] = " … ";
    size_t length = strlen(whole), capacity = size - sizeof gap;
    if (length < size) {
        memcpy(text, whole, length + 1);
        return;
    }
    size_t head = before_character(whole, capacity / 3), tail = length - (capacity - head);
    while (tail < length && (whole[tail] & 0xc0) == 0x80)
        tail++;
    memcpy(text, whole, head);
    memcpy(text + head, gap, sizeof gap - 1);
    memcpy(text + head + sizeof gap - 1, whole + tail, length - tail + 1);
}

void fail_with(struct fail *why, enum status status, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(why->text, sizeof why->text, format, args);
    char *whole = length >= (int)sizeof why->text ? malloc((size_t)length + 1) : NULL;
    if (whole) {
        vsnprintf(whole, (size_t)length + 1, format, again);
        fail_fit(why->text, sizeof why->text, whole);
        free(whole);
    }
    va_end(again);
    va_end(args);
    why->status = status;
}

void fail_prefix(struct fail *why, const char *prefix)
{
    char *whole = NULL;
    /* If memory runs out, the text keeps the reason alone, without the prefix. */
    if (asprintf(&whole, "%s: %s", prefix, why->text) < 0) return;
    fail_fit(why->text, sizeof why->text, whole);
    free(whole);
}

void fail_rename(struct fail *why, const char *from, const char *to)
{
    char *whole = NULL;
    const char *at = strstr(why->text, from);
    if (!at ||
        asprintf(&whole, "%.*s%s%s", (int)(at - why->text), why->text, to, at + strlen(from)) < 0)
        return;
    fail_fit(why->text, sizeof why->text, whole);
    free(whole);
}

void fail_must(const char *expression, const char *file, int line)
{
    char text[512];
    int length =
        snprintf(text, sizeof text, "%s:%d: broken invariant: %s\n", file, line, expression);
    if (length > 0 && write(2, text, (size_t)length) < 0) abort();
    abort();
}
