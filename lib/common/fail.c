#include "fail.h"

#include <stdarg.h>
#include <unistd.h>

static int set(struct fail *why, enum status status, const char *format, va_list args)
{
    vsnprintf(why->text, sizeof why->text, format, args);
    why->status = status;
    return -1;
}

int fail(struct fail *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(why, STATUS_FAILED, format, args);
    va_end(args);
    return -1;
}

int fail_input(struct fail *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(why, STATUS_INPUT, format, args);
    va_end(args);
    return -1;
}

int fail_usage(struct fail *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(why, STATUS_USAGE, format, args);
    va_end(args);
    return -1;
}

int fail_in(struct fail *why, const char *prefix)
{
    char text[sizeof why->text];
    int length = snprintf(text, sizeof text, "%s: ", prefix);
    if (length < 0 || (size_t)length >= sizeof text) return -1;
    snprintf(text + length, sizeof text - (size_t)length, "%s", why->text);
    memcpy(why->text, text, sizeof text);
    return -1;
}

void must_failed(const char *expression, const char *file, int line)
{
    char text[512];
    int length =
        snprintf(text, sizeof text, "%s:%d: broken invariant: %s\n", file, line, expression);
    if (length > 0 && write(2, text, (size_t)length) < 0) abort();
    abort();
}
