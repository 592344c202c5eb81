#include "progress.h"

#include <time.h>
#include <unistd.h>

double progress_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int terminal_can_redraw(void)
{
    const char *term = getenv("TERM");
    return isatty(2) && term && strcmp(term, "dumb") != 0;
}

void progress_start(struct progress *p, const char *tool, const char *unit, uint64_t total,
                    const char *how, int quiet)
{
    *p = (struct progress){ .tool = tool, .unit = unit, .total = total };
    p->started = p->shown = progress_clock();
    if (quiet || !strcmp(how, "none"))
        p->how = 0;
    else if (!strcmp(how, "bar"))
        p->how = 2;
    else if (!strcmp(how, "line"))
        p->how = 1;
    else
        p->how = terminal_can_redraw() ? 2 : 1;
}

void progress_show(struct progress *p, uint64_t done, const char *extra)
{
    double now = progress_clock();
    if (!p->how || now - p->shown < (p->how == 2 ? 0.1 : 30)) return;
    p->shown = now;
    double rate = (double)done / (now - p->started + 1e-9);
    char line[256], left[64] = "";
    if (p->total && done)
        snprintf(left, sizeof left, " of %llu, %.0f s left", (unsigned long long)p->total,
                 (double)(p->total - (done < p->total ? done : p->total)) / rate);
    int n = snprintf(line, sizeof line, "%s%s: %llu%s %s, %.4g a second%s%s%s",
                     p->how == 2 ? "\r" : "", p->tool, (unsigned long long)done, left, p->unit,
                     rate, extra ? ", " : "", extra ? extra : "", p->how == 2 ? "\033[K" : "\n");
    if (n > 0 && write(2, line, (size_t)n) < 0) p->how = 0;
}

void progress_end(struct progress *p)
{
    if (p->how == 2 && write(2, "\r\033[K", 4) < 0) p->how = 0;
}
