#include "size.h"

#include <stdio.h>

struct size_text size_text(double bytes)
{
    static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
    struct size_text text;
    int unit = -1;
    for (; unit < 5 && bytes >= 999.995; unit++)
        bytes /= 1000;
    if (unit < 0)
        snprintf(text.at, sizeof text.at, "%.0f byte%s", bytes, bytes == 1 ? "" : "s");
    else
        snprintf(text.at, sizeof text.at, "%.2f %s", bytes, units[unit]);
    return text;
}
