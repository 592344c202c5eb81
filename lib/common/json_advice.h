/* json_advice.h - what may have been meant with a record that is no JSON.
 *
 * People hand over tables, YAML, records of Python as they are printed, and objects over many
 * lines. What a parser says of these is true and does not help: whoever refuses the record puts
 * this behind it.
 */
#ifndef LONGQLORA_JSON_ADVICE_H
#define LONGQLORA_JSON_ADVICE_H

#include <stdbool.h>
#include <stddef.h>

enum json_place {
    JSON_FIRST_LINE, /* of a file: it may be of another kind altogether */
    JSON_LATER_LINE,
    JSON_ELEMENT, /* of an array */
};

/* " (a table? ...)", to follow the parser's words; "" if nothing comes to mind. The text is one
 * that no parser of JSON takes. */
void json_advise(const char *text, size_t bytes, enum json_place place, char *advice, size_t size);

#endif
