/* parts.h - the components of tokenizer.json: what is understood, what is refused.
 *
 * One table, from which refusals are made and which docs/formats/tokenizer.md shows. What is not in
 * it is refused: a component that is not known, or an option that a known one does not have.
 */
#ifndef LONGQLORA_TOKENIZER_PARTS_H
#define LONGQLORA_TOKENIZER_PARTS_H

#include "lib/common/fail.h"

#include <jansson.h>

enum part_verdict {
    PART_UNDERSTOOD, /* and compared with Hugging Face's tokenizers */
    PART_HARMLESS,   /* it changes no ids here: `values` says why */
    PART_REFUSED,
};

struct tokenizer_part {
    const char *where, *type; /* "pre_tokenizer", "Split" */
    const char *option;       /* NULL: the component itself */
    enum part_verdict verdict;
    const char *values;  /* those that are understood; NULL: all */
    const char *refused; /* what other values, or all, are told */
};

/* The rows in order; NULL behind the last. */
const struct tokenizer_part *tokenizer_part(size_t number);

/* The object's type, if it is understood or harmless and has no option that is not in the table;
 * NULL and a refusal by name otherwise. model: a file without a type is BPE's. */
const char *part_check(const char *where, const json_t *object, struct fail *why);
/* Is there a row for this option, whatever the type? */
bool part_has_option(const char *where, const char *option);
/* Refuses an option's value, by its row. */
int part_refuse(const char *where, const char *type, const char *option, struct fail *why);

#endif
