/* recipe_scalar.h - the type and value of a plain YAML scalar.
 *
 * Scalars are resolved as by PyYAML 6 (YAML 1.1), with which Hugging Face's programs read recipes,
 * with two exceptions. Numbers that PyYAML takes for texts ("1e-4", "2e5", "-.5") are numbers here,
 * because Hugging Face's programs convert these texts to numbers afterwards. Scalars that YAML 1.1
 * and 1.2 read as different numbers have kinds of their own, so that they can be refused by name.
 * For example, YAML 1.1 reads "010" as 8 and "1:30" as 90.
 */
#ifndef LONGQLORA_RECIPE_SCALAR_H
#define LONGQLORA_RECIPE_SCALAR_H

#include <stdint.h>

enum scalar_kind {
    SCALAR_NULL,
    SCALAR_FALSE,
    SCALAR_TRUE,
    SCALAR_INTEGER,
    SCALAR_REAL,
    SCALAR_INFINITE,     /* .inf, .nan, or a number too large for a double */
    SCALAR_LEADING_ZERO, /* 010, 0o10 */
    SCALAR_SIXTIES,      /* 1:30, 1:30.5 */
    SCALAR_TEXT,
};

struct scalar {
    enum scalar_kind kind;
    int64_t integer; /* value of SCALAR_INTEGER */
    double real;     /* value of SCALAR_INTEGER and SCALAR_REAL */
};

/* Reads the text of a plain scalar. The caller decides whether a quoted scalar may be a number. */
struct scalar scalar_read(const char *text);

#endif
