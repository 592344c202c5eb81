#include "lib/common/size.h"

#include <stdio.h>

static struct size_text in_units(double bytes, double thousand, const char *const units[6])
{
    struct size_text text;
    int unit = -1;
    for (; unit < 5 && bytes >= thousand - 0.005; unit++)
        bytes /= thousand;
    if (unit < 0)
        snprintf(text.at, sizeof text.at, "%.0f byte%s", bytes, bytes == 1 ? "" : "s");
    else
        snprintf(text.at, sizeof text.at, "%.2f %s", bytes, units[unit]);
    return text;
}

struct size_text size_text(double bytes)
{
    static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
    return in_units(bytes, 1000, units);
}

struct size_text size_binary(double bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    return in_units(bytes, 1024, units);
}
