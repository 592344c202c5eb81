/* progress.h - how far the work is, on standard error. Used by tools only. */
#ifndef LONGQLORA_PROGRESS_H
#define LONGQLORA_PROGRESS_H

#include "compiler.h"

#include <stdint.h>

struct progress {
    const char *tool, *unit;
    uint64_t total; /* 0: not known */
    double started, shown;
    int how; /* 0 none, 1 lines, 2 a bar */
};

double progress_clock(void); /* seconds, monotonic */
/* how: auto, bar, line or none (opt.h's --progress). */
void progress_start(struct progress *p, const char *tool, const char *unit, uint64_t total,
                    const char *how, int quiet);
/* Shows `done` of the total, at most ten times a second on a terminal and once in
 * thirty seconds elsewhere. */
void progress_show(struct progress *p, uint64_t done, const char *extra);
void progress_end(struct progress *p);

#endif
