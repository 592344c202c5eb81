/* progress.h - how far the work is, on standard error: on a terminal a line that the next message
 * takes the place of, elsewhere a line now and then. One work at a time. Used by tools only.
 */
#ifndef LONGQLORA_CLI_PROGRESS_H
#define LONGQLORA_CLI_PROGRESS_H

#include <stddef.h>

double progress_clock(void); /* seconds, monotonic */

struct progress {
    const char *unit; /* what is counted: "samples", "MB" */
    double size;      /* of one of it, in what progress_at is given; 0: 1 */
    double total;     /* 0: not known */
    double first;     /* where this run begins */
    double seconds;   /* between lines where there is no terminal; 0: 30 */
};

/* As --progress and --quiet have it. The unit is borrowed until the end. */
void progress_begin(const struct progress *p);
/* Cheap where there is nothing to show yet. Of one thread at a time. */
void progress_at(double done);
void progress_end(void);

/* "45 s", "12 min", "3.4 h", "12 days" */
void progress_duration(double seconds, char *text, size_t size);

#endif
