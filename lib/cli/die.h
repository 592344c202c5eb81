/* die.h - how a program speaks and gives up. Included by tools only.
 *
 * Every message is one line, one write, on standard error: "tool: where: what". Characters that a
 * terminal would obey or hide are replaced (message.h). Of a message that is too long the middle is
 * left out, so that a long path does not hide the reason.
 */
#ifndef LONGQLORA_CLI_DIE_H
#define LONGQLORA_CLI_DIE_H

#include "lib/common/fail.h"

#include <stdbool.h>

/* What a program does first (process.h). Names it, and makes signals that end it (signals.h) remove
 * unfinished outputs before. From here on JSON that lacks memory ends the program, a mapped input
 * that shrinks ends it with status 3, and so does with 1, when it exits, what could not be printed.
 */
void die_init(const char *tool, bool quiet);

void die(enum status status, const char *format, ...) PRINTF_LIKE(2, 3) NORETURN;
/* A handler of signals: removes unfinished outputs, and dies by that signal when it returns. */
void die_by_signal(int signal_number);
void die_fail(const struct fail *why) NORETURN;
void die_usage(const char *format, ...) PRINTF_LIKE(1, 2) NORETURN;

/* Dies of *why if status is negative; else returns it. */
int or_die(int status, const struct fail *why);

void warn(const char *format, ...) PRINTF_LIKE(1, 2);
/* Silent with --quiet. */
void note(const char *format, ...) PRINTF_LIKE(1, 2);
/* The same in a handler of a signal. */
void note_in_handler(const char *text);
/* On a terminal: a line that the next message takes the place of, or that goes when it ends. Of one
 * that is wider than the terminal the end is left out. */
void note_passing(const char *format, ...) PRINTF_LIKE(1, 2);
void note_passing_ends(void);

/* Refuses to put binary data on a terminal. */
void die_if_terminal(const char *output);
/* Refuses to wait for data that nobody types; what: is wanted. */
void die_if_typed(const char *input, const char *what);
/* Says that text is waited for, where that is typed. */
void note_if_typed(const char *input, const char *what);

#endif
