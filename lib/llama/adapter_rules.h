/* adapter_rules.h - which modules an adapter_config.json selects, and their rank and alpha.
 *
 * The decisions are those of PEFT 0.21: check_target_module_exists (tuners_utils.py),
 * get_pattern_key and _set_trainable (utils/other.py). Module names are those of transformers'
 * LlamaForCausalLM, such as model.layers.0.self_attn.q_proj. Only adapter*.c include this header.
 */
#ifndef LONGQLORA_ADAPTER_RULES_H
#define LONGQLORA_ADAPTER_RULES_H

#include "lib/common/json.h"

struct adapter_rules;

/* config: an adapter_config.json that adapter_fields_check has accepted; it must outlive the
 * rules. Fails for a pattern that is not supported; the message names the field. The caller
 * closes *rules. */
int adapter_rules_open(struct adapter_rules **rules, const json_t *config,
                       struct fail *why) MUST_USE;
void adapter_rules_close(struct adapter_rules *r);

/* Returns 1 if the module gets LoRA matrices, 0 if not. is_linear: the module is a linear layer
 * inside of a layer, so that "all-linear" selects it. */
int adapter_rules_target(struct adapter_rules *r, const char *module, bool is_linear,
                         struct fail *why) MUST_USE;
/* Does modules_to_save name the module? A name there means each module that ends with it. */
bool adapter_list_saves(const json_t *modules_to_save, const char *module);
bool adapter_rules_save(const struct adapter_rules *r, const char *module);

/* The values of rank_pattern and alpha_pattern for a module; NULL if no pattern matches it. They
 * belong to the config. */
int adapter_rules_rank(struct adapter_rules *r, const char *module, const json_t **rank,
                       struct fail *why) MUST_USE;
int adapter_rules_alpha(struct adapter_rules *r, const char *module, const json_t **alpha,
                        struct fail *why) MUST_USE;

#endif
