/* adapter_fields.h - the one table of adapter_config.json's fields, those of PEFT 0.21.
 *
 * Each is read here, or harmless, or refused unless it is off. Refusals are made from the table,
 * and so is the table of docs/formats/adapter.md.
 */
#ifndef LONGQLORA_ADAPTER_FIELDS_H
#define LONGQLORA_ADAPTER_FIELDS_H

#include "lib/common/json.h"

enum { ADAPTER_FIELDS = 42 };

/* Fails, naming the first field whose value is not understood, or that PEFT 0.21 has not. What is
 * read has one of the types of its field then; null is what is not there. */
int adapter_fields_check(const json_t *config, struct fail *why) MUST_USE;
/* Fails unless adapters that begin so leave their base as it is. (init_lora_weights) */
int adapter_check_init(const json_t *init, struct fail *why) MUST_USE;
/* One by one, for the table of docs/formats/adapter.md: the name, what becomes of the field, and
 * what it does, why it is harmless, or what the message says. false: no more. */
bool adapter_field_at(int i, const char **name, const char **rule, const char **text);

#endif
