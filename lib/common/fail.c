#include "fail.h"

#include <stdarg.h>
#include <unistd.h>

/* A text that is too long loses its middle: a path's, mostly. What it begins with names the input,
 * what it ends with is the reason. */
static void put(struct fail *why, const char *text)
{
    static const char gap[] = " … ";
    size_t length = strlen(text), room = sizeof why->text - 1;
    if (length <= room) {
        memmove(why->text, text, length + 1);
        return;
    }
    size_t head = room / 3, tail = room - head - (sizeof gap - 1);
    const char *end = text + length - tail;
    while (head && ((unsigned char)text[head] & 0xc0) == 0x80) /* not within a character */
        head--;
    while (((unsigned char)*end & 0xc0) == 0x80)
        end++;
    char whole[sizeof why->text];
    snprintf(whole, sizeof whole, "%.*s%s%s", (int)head, text, gap, end);
    memcpy(why->text, whole, sizeof whole);
}

void fail_with(struct fail *why, enum status status, const char *format, ...)
{
    char text[2 * 4096 + sizeof why->text]; /* two paths and what is said of them */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(why, text);
    why->status = status;
}

void fail_prefix(struct fail *why, const char *prefix)
{
    char text[4096 + 2 * sizeof why->text];
    snprintf(text, sizeof text, "%.4200s: %s", prefix, why->text);
    put(why, text);
}

void must_failed(const char *expression, const char *file, int line)
{
    char text[512];
    int length =
        snprintf(text, sizeof text, "%s:%d: broken invariant: %s\n", file, line, expression);
    if (length > 0 && write(2, text, (size_t)length) < 0) abort();
    abort();
}
