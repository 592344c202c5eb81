/* adapter_fields.h - the table of the fields of adapter_config.json in PEFT 0.21.
 *
 * Each field is read, or has no effect here, or is refused unless it is off. The refusals, and the
 * table of docs/formats/adapter.md, are made from this table.
 */
#ifndef LONGQLORA_ADAPTER_FIELDS_H
#define LONGQLORA_ADAPTER_FIELDS_H

#include "lib/common/json.h"

enum { ADAPTER_FIELDS = 42 };

/* Fails at the first field that PEFT 0.21 does not have, or whose value is not understood; the
 * message names it. After success each field has one of the types that PEFT gives it. A null counts
 * as a missing field. */
int adapter_fields_check(const json_t *config, struct fail *why) MUST_USE;
/* Fails unless init_lora_weights leaves the base's weights as they are. */
int adapter_check_init(const json_t *init, struct fail *why) MUST_USE;
/* Describes field i for the table of docs/formats/adapter.md: its name, the rule for it (read, no
 * effect, refused), and the reason. Returns false after the last field. */
bool adapter_field_at(int i, const char **name, const char **rule, const char **text);

#endif
