#include "fail.h"

#include <stdarg.h>
#include <unistd.h>

void fail_with(struct fail *why, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    why->status = status;
}

void fail_prefix(struct fail *why, const char *prefix)
{
    char text[sizeof why->text];
    int length = snprintf(text, sizeof text, "%s: ", prefix);
    if (length < 0 || (size_t)length >= sizeof text) return;
    snprintf(text + length, sizeof text - (size_t)length, "%s", why->text);
    memcpy(why->text, text, sizeof text);
}

void must_failed(const char *expression, const char *file, int line)
{
    char text[512];
    int length =
        snprintf(text, sizeof text, "%s:%d: broken invariant: %s\n", file, line, expression);
    if (length > 0 && write(2, text, (size_t)length) < 0) abort();
    abort();
}
