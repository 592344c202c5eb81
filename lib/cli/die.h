/* die.h - prints messages and ends the program. Only tools include it.
 *
 * Every message is one line, written to standard error with a single call: "tool: where: what".
 * Characters that would control a terminal or be invisible are replaced (message.h). If a message
 * is too long, its middle is left out, so that a long path does not hide the reason.
 */
#ifndef LONGQLORA_CLI_DIE_H
#define LONGQLORA_CLI_DIE_H

#include "lib/common/fail.h"

#include <stdbool.h>

/* Every program calls this first. This function calls process_begin, sets the program's name, and
 * makes signals that end the program remove unfinished outputs (signals.h). From then on the
 * program also ends with status 1 if memory for JSON runs out, and with status 3 if a mapped input
 * shrinks. If standard output could not be written, status 1 takes the place of status 0. */
void die_init(const char *tool, bool quiet);

/* Print a message and end the program: die with any status, die_fail with *why and its status,
 * die_usage with status 2 and a pointer to --help. */
void die(enum status status, const char *format, ...) PRINTF_LIKE(2, 3) NORETURN;
/* Makes die wait for some seconds before it prints. If several processes of one run fail for the
 * same reason, only the first of them prints its message, because in that time it ends the others.
 * 0: no wait. */
void die_waits(unsigned seconds);
/* A signal handler: removes unfinished outputs. When it returns, the program dies by that
 * signal. */
void die_by_signal(int signal_number);
void die_fail(const struct fail *why) NORETURN;
void die_usage(const char *format, ...) PRINTF_LIKE(1, 2) NORETURN;

/* Ends the program with *why if status is negative; otherwise returns status. */
int or_die(int status, const struct fail *why);

/* Prints a message, also with --quiet. */
void warn(const char *format, ...) PRINTF_LIKE(1, 2);
/* Prints a message; silent with --quiet. */
void note(const char *format, ...) PRINTF_LIKE(1, 2);
/* Like note, for use in a signal handler. */
void note_in_handler(const char *text);
/* On a terminal, shows a line that the next message, or note_transient_ends, erases. If it is wider
 * than the terminal, its end is left out. */
void note_transient(const char *format, ...) PRINTF_LIKE(1, 2);
void note_transient_ends(void);

/* If a file that will be replaced has other names (hard links), warns that these names keep the old
 * content, and returns true. warn_of_links_in warns of the first such file in a folder. */
bool warn_of_links(const char *path);
void warn_of_links_in(const char *folder);
/* Declares an output (output_declare), and ends the program if the output cannot be written. Calls
 * warn_of_links for it. */
void die_unless_writable(const char *option, const char *path);

/* Ends the program if output is "-" and standard output is a terminal, because binary data would go
 * there. */
void die_if_terminal(const char *output);
/* Ends the program if input is a terminal, because nobody types such data. `what` names the data
 * that are needed. */
void die_if_typed(const char *input, const char *what);
/* If input is a terminal, tells the user that text is expected. */
void note_if_typed(const char *input, const char *what);

#endif
