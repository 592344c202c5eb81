/* message.h - prepares text for a terminal, and writes messages to standard error. */
#ifndef LONGQLORA_MESSAGE_H
#define LONGQLORA_MESSAGE_H

#include <stddef.h>

/* Replaces by '?' each character that would control a terminal or be invisible (control characters,
 * direction marks, invisible ones) and each byte that is not UTF-8. Works in place; returns the new
 * length. Safe in a signal handler. */
size_t message_mask(char *text, size_t length);

/* Copies text for display on a terminal. A character that would control the terminal (a control
 * character other than tab and newline, a direction mark) becomes a JSON escape, \u001b, so JSON
 * strings keep their value. A byte that is not UTF-8 becomes U+FFFD. Copies as many whole
 * characters as fit in to[capacity], where capacity ≥ 16. *taken becomes the number of bytes of
 * text that were copied. Returns the number of bytes written. */
size_t message_escape(const char *text, size_t length, size_t *taken, char *to, size_t capacity);

/* Returns how many bytes at the beginning of a masked text fit in `columns` columns of a terminal.
 * It counts whole characters only. */
size_t message_fit(const char *text, size_t length, size_t columns);
/* Returns how many columns the terminal has, if standard error is one; 0 if it is not, or if the
 * width is unknown. */
size_t message_columns(void);

/* Sends all further messages to the terminal, or nowhere if there is none. Programs call it when
 * standard error is a file that must not be written to. */
void message_divert(void);

/* Writes to standard error. If nobody reads standard error any more, SIGPIPE is suppressed, because
 * it would end the program. Safe in a signal handler. */
void message_write(const char *text, size_t length);

#endif
