/* adapter_rules.h - which modules an adapter_config.json means, and their rank and alpha.
 *
 * As PEFT 0.21 decides it: check_target_module_exists (tuners_utils.py), get_pattern_key and
 * _set_trainable (utils/other.py). Module names are those of transformers' LlamaForCausalLM, such
 * as model.layers.0.self_attn.q_proj. For adapter*.c.
 */
#ifndef LONGQLORA_ADAPTER_RULES_H
#define LONGQLORA_ADAPTER_RULES_H

#include "lib/common/json.h"

struct adapter_rules;

/* config: adapter_config.json, which adapter_fields_check took; must outlive the rules. Fails,
 * naming the field, for a pattern that is not understood. */
int adapter_rules_open(struct adapter_rules **rules, const json_t *config,
                       struct fail *why) MUST_USE;
void adapter_rules_close(struct adapter_rules *r);

/* 1: the module carries an adapter, 0: not. is_linear: it is a linear of a layer, which all-linear
 * means. */
int adapter_rules_target(struct adapter_rules *r, const char *module, bool is_linear,
                         struct fail *why) MUST_USE;
/* Does modules_to_save name it? */
bool adapter_rules_save(const struct adapter_rules *r, const char *module);

/* The values of rank_pattern and alpha_pattern for the module. NULL: none is for it. */
int adapter_rules_rank(struct adapter_rules *r, const char *module, const json_t **rank,
                       struct fail *why) MUST_USE;
int adapter_rules_alpha(struct adapter_rules *r, const char *module, const json_t **alpha,
                        struct fail *why) MUST_USE;

#endif
