/* json_advice.h - guesses what the user meant by a record that is not JSON.
 *
 * Users pass tables, YAML, printed Python dictionaries, and objects spread over many lines. A JSON
 * parser's message about these is correct but does not help, so the code that refuses the record
 * appends this advice.
 */
#ifndef LONGQLORA_JSON_ADVICE_H
#define LONGQLORA_JSON_ADVICE_H

#include <stdbool.h>
#include <stddef.h>

/* What to do about NaN, Infinity and -Infinity. */
#define JSON_ADVICE_PYTHON                                                                         \
    " (Python writes it, but it is not JSON: write a number, such as 1e30 for infinity)"

enum json_place {
    JSON_FIRST_LINE, /* the first line of a file; the whole file may have another format */
    JSON_LATER_LINE,
    JSON_ELEMENT, /* an element of an array */
};

/* Writes advice such as " (a table? ...)" into advice[size], or "" if nothing is recognised. The
 * caller appends the advice to the parser's message. The parser must have refused the text. */
void json_advise(const char *text, size_t bytes, enum json_place place, char *advice, size_t size);

#endif
