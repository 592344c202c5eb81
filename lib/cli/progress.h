/* progress.h - shows on standard error how much of the work is done. By default it redraws
 * one line on a terminal, which the next message erases; elsewhere it prints a line every 30
 * seconds. Only one piece of work is shown at a time. Only tools use it. */
#ifndef LONGQLORA_CLI_PROGRESS_H
#define LONGQLORA_CLI_PROGRESS_H

#include <stddef.h>

struct progress {
    const char *unit; /* what is counted: "samples", "MB" */
    double size;      /* how many of progress_at's units make one `unit`; 0 means 1 */
    double total;     /* the value of progress_at at the end; 0 if unknown */
    double first;     /* the value of progress_at at which this run begins */
    double seconds;   /* time between two lines if standard error is no terminal; 0 means 30 */
};

/* Begins to show progress, in the way that --progress and --quiet ask for. The text `unit` must
 * stay valid until progress_end. */
void progress_begin(const struct progress *p);
/* Reports how much is done. The call costs little if there is nothing new to show. Call it from one
 * thread at a time. */
void progress_at(double done);
void progress_end(void);

/* Writes a duration into text[size]: "45 s", "12 min", "3.4 h", "12 days". */
void progress_duration(double seconds, char *text, size_t size);

#endif
