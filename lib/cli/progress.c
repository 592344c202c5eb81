#include "lib/cli/progress.h"

#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/common/clock.h"

#include <unistd.h>

enum style { NONE, LINES, BAR };

static struct {
    struct progress progress;
    enum style style;
    double started, shown;
} now;

static bool terminal_can_redraw(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static enum style style_of(const char *how)
{
    if (opt_standard.quiet || !strcmp(how, "none")) return NONE;
    if (!strcmp(how, "bar")) return BAR;
    if (!strcmp(how, "line")) return LINES;
    return terminal_can_redraw() ? BAR : LINES;
}

void progress_begin(const struct progress *p)
{
    now.progress = *p;
    if (!now.progress.size) now.progress.size = 1;
    if (!now.progress.seconds) now.progress.seconds = 30;
    now.style = style_of(opt_standard.progress);
    now.started = clock_seconds();
    /* A bar appears 0.01 s after the start, because a rate that is measured over a shorter time
     * means nothing. */
    now.shown = now.style == BAR ? now.started - 0.09 : now.started;
}

void progress_duration(double seconds, char *text, size_t size)
{
    static const struct {
        double seconds, below;
        const char *unit;
    } units[] = {
        { 1, 100, "s" }, { 60, 100 * 60, "min" }, { 3600, 48 * 3600, "h" }, { 86400, 0, "days" }
    };
    int i = 0;
    while (units[i].below && seconds >= units[i].below)
        i++;
    double n = seconds / units[i].seconds;
    snprintf(text, size, "%.*f %s", i && n < 9.95 ? 1 : 0, n, units[i].unit);
}

/* Writes "12.2 an hour" for a rate that is given per second. */
static void describe_rate(double rate, char *text, size_t size)
{
    const char *each = "a second";
    if (rate < 0.95) rate *= 60, each = "a minute";
    if (rate < 0.95) rate *= 60, each = "an hour";
    snprintf(text, size, rate < 99.5 ? "%.3g %s" : "%.0f %s", rate, each);
}

void progress_at(double done)
{
    double at = clock_seconds();
    if (!now.style || at - now.shown < (now.style == BAR ? 0.1 : now.progress.seconds)) return;
    now.shown = at;
    const struct progress *p = &now.progress;
    double rate = (done - p->first) / p->size / (at - now.started);
    char of[32] = "", each[48] = "", left[40] = "", duration[24];
    if (p->total) snprintf(of, sizeof of, " of %.0f", p->total / p->size);
    if (rate > 0) {
        describe_rate(rate, each, sizeof each);
        progress_duration((p->total - done) / p->size / rate, duration, sizeof duration);
        if (p->total) snprintf(left, sizeof left, ", %s left", duration);
    }
    (now.style == BAR ? note_transient : note)("%.0f%s %s%s%s%s", done / p->size, of, p->unit,
                                               *each ? ", " : "", each, left);
}

void progress_end(void)
{
    now.style = NONE;
    note_transient_ends();
}
