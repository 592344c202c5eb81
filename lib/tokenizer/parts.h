/* parts.h - the table of the components and options of tokenizer.json. It says which are
 * understood.
 *
 * The program decides by this table what it refuses, and docs/formats/tokenizer.md shows the table.
 * An unknown component, or an unknown option of a known component, is refused too.
 */
#ifndef LONGQLORA_TOKENIZER_PARTS_H
#define LONGQLORA_TOKENIZER_PARTS_H

#include "lib/common/fail.h"

#include <jansson.h>

enum part_verdict {
    PART_UNDERSTOOD, /* understood; the results were compared with Hugging Face's tokenizers */
    PART_HARMLESS,   /* it changes no ids; `values` tells why */
    PART_REFUSED,
};

struct tokenizer_part {
    const char *where, *type; /* "pre_tokenizer", "Split" */
    const char *option;       /* NULL in the row of the component itself */
    enum part_verdict verdict;
    const char *values;  /* the values that are understood; NULL means all */
    const char *refused; /* the message for other values, or for the option as a whole */
};

/* Returns row `number` of the table, or NULL after the last row. */
const struct tokenizer_part *tokenizer_part(size_t number);

/* Returns the type of a component if the table accepts the type and all its options; otherwise NULL
 * with *why. `where` is the component's key, such as "model". A model without a type is BPE. */
const char *part_check(const char *where, const json_t *object, struct fail *why);
/* Does any type of this component have this option? */
bool part_has_option(const char *where, const char *option);
/* Refuses an option's value with the message of its row. Returns -1. */
int part_refuse(const char *where, const char *type, const char *option, struct fail *why);

#endif
