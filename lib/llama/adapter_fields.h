/* adapter_fields.h - the table of the fields of adapter_config.json in PEFT 0.21.
 *
 * Each field is read, or has no effect in these programs, or is refused unless it is off. The
 * refusals, and the table of docs/formats/adapter.md, are made from this table.
 */
#ifndef LONGQLORA_ADAPTER_FIELDS_H
#define LONGQLORA_ADAPTER_FIELDS_H

#include "lib/common/json.h"

enum { ADAPTER_FIELDS = 42 };

enum adapter_field_rule {
    ADAPTER_FIELD_READ, /* the value decides what is computed */
    /* Any value is accepted, because the field has no effect in these programs. */
    ADAPTER_FIELD_HARMLESS,
    ADAPTER_FIELD_OFF, /* must be null, false, or an empty list or object */
};

struct adapter_field {
    const char *name;
    enum adapter_field_rule rule;
    unsigned types; /* for ADAPTER_FIELD_READ: the types that the value may have */
    /* What the field does, or why it has no effect, or why it is refused and what to do. */
    const char *text;
};
extern const struct adapter_field adapter_fields[ADAPTER_FIELDS];

/* Fails at the first field that PEFT 0.21 does not have, or whose value is not supported. The
 * message names the field. After success each field that is read has one of the types that PEFT
 * gives it, or is null, which counts as a missing field. */
int adapter_fields_check(const json_t *config, struct fail *why) MUST_USE;
/* Fails unless init_lora_weights leaves the base's weights as they are. */
int adapter_check_init(const json_t *init, struct fail *why) MUST_USE;

#endif
