/* Reads the fields of adapter_config.json, and matches its patterns against the modules of a
 * model. */
#include "lib/llama/adapter_fields.h"
#include "lib/llama/adapter_rules.h"
#include "tests/fuzz/fuzz.h"

static void ask(struct adapter_rules *r, const char *module, bool is_linear)
{
    struct fail why;
    const json_t *value;
    int found = adapter_rules_target(r, module, is_linear, &why);
    if (found < 0) fuzz_check_failure(&why);
    must(found <= 1);
    (void)adapter_rules_save(r, module);
    if (adapter_rules_rank(r, module, &value, &why)) fuzz_check_failure(&why);
    if (adapter_rules_alpha(r, module, &value, &why)) fuzz_check_failure(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct adapter_rules *rules;
    json_t *config = json_read_file(fuzz_file(0, data, size), &why);
    if (!config) {
        fuzz_check_failure(&why);
        return 0;
    }
    if (!json_is_object(config)) {
        json_decref(config);
        return 0;
    }
    if (adapter_fields_check(config, &why) ||
        adapter_check_init(json_object_get(config, "init_lora_weights"), &why) ||
        adapter_rules_open(&rules, config, &why)) {
        fuzz_check_failure(&why);
    } else {
        ask(rules, "model.embed_tokens", false);
        ask(rules, "model.layers.0.self_attn.q_proj", true);
        ask(rules, "model.layers.31.mlp.down_proj", true);
        ask(rules, "model.layers.1", false);
        ask(rules, "lm_head", false);
        adapter_rules_close(rules);
    }
    json_decref(config);
    return 0;
}
