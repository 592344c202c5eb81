/* progress.h - shows on standard error how far the work is: on a terminal as a line that is redrawn
 * and that the next message erases, elsewhere as a line every 30 seconds. One work is shown at a
 * time. Only tools use it. */
#ifndef LONGQLORA_CLI_PROGRESS_H
#define LONGQLORA_CLI_PROGRESS_H

#include <stddef.h>

double progress_clock(void); /* seconds since an arbitrary start; never goes back */

struct progress {
    const char *unit; /* what is counted: "samples", "MB" */
    double size;      /* how many of progress_at's units make one `unit`; 0 means 1 */
    double total;     /* the value of progress_at at the end; 0 if unknown */
    double first;     /* the value of progress_at at which this run begins */
    double seconds;   /* time between two lines where no terminal is; 0 means 30 */
};

/* Starts in the way that --progress and --quiet ask for. The unit's text must stay valid until
 * progress_end. */
void progress_begin(const struct progress *p);
/* Reports how much is done. It costs little if nothing new has to be shown. Call it from one thread
 * at a time. */
void progress_at(double done);
void progress_end(void);

/* Writes a duration into text[size]: "45 s", "12 min", "3.4 h", "12 days". */
void progress_duration(double seconds, char *text, size_t size);

#endif
