/* message.h - text for standard error, which may be a terminal, and for a terminal that standard
 * output is. */
#ifndef LONGQLORA_MESSAGE_H
#define LONGQLORA_MESSAGE_H

#include <stddef.h>

/* Puts a '?' in place of each character that a terminal would obey or not show: controls, marks of
 * direction, invisible ones; and of each byte that is not UTF-8. In place; returns the new length.
 * Safe in a signal handler. */
size_t message_mask(char *text, size_t length);

/* Text as a terminal is to show it: what it would obey (controls but for tab and newline, marks of
 * direction) is written as JSON does, \u001b, in a string of JSON the same value; a byte that is
 * not UTF-8 as U+FFFD. Takes as many characters as there is room for, of at least 16 bytes; tells
 * their bytes, and returns those of the result. */
size_t message_show(const char *text, size_t length, size_t *taken, char *to, size_t capacity);

/* Bytes at the beginning that take no more than so many columns of a terminal, in whole characters
 * of masked text. */
size_t message_fit(const char *text, size_t length, size_t columns);
/* Columns of the terminal that standard error is; 0: it is none, or does not tell. */
size_t message_columns(void);

/* From now on messages go to the terminal, or nowhere where there is none: what standard error was
 * is a file that must not be written. */
void message_turn_away(void);

/* Writes to standard error. That nobody reads it any more is no SIGPIPE, which would end the work.
 * Safe in a signal handler. */
void message_write(const char *text, size_t length);

#endif
