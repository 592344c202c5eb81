/* recipe_scalar.h - what a plain scalar of YAML is.
 *
 * YAML 1.1 as PyYAML 6 resolves it, which Hugging Face's programs read recipes with, but for two
 * things. Numbers that it takes for texts ("1e-4", "2e5", "-.5") are numbers, as the programs make
 * of them afterwards. What readers of YAML 1.1 and 1.2 take for different numbers has kinds of its
 * own, so that it can be refused by name: nobody means 8 with "010", or 90 with "1:30".
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
    SCALAR_INFINITE,     /* .inf, .nan, or a number that no double holds */
    SCALAR_LEADING_ZERO, /* 010, 0o10 */
    SCALAR_SIXTIES,      /* 1:30, 1:30.5 */
    SCALAR_TEXT,
};

struct scalar {
    enum scalar_kind kind;
    int64_t integer; /* of SCALAR_INTEGER */
    double real;     /* of SCALAR_INTEGER and SCALAR_REAL */
};

/* Of the text of a plain scalar; whether a quoted one may be a number is for the caller to say. */
struct scalar scalar_read(const char *text);

#endif
