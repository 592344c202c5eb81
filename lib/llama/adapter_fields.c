/* adapter_fields.c - the fields of adapter_config.json: peft.config.PeftConfig and
 * peft.tuners.lora.config.LoraConfig of PEFT 0.21.2. */
#include "lib/llama/adapter_fields.h"

#include <strings.h>

/* The types that a value may have. null counts as a missing field, except for fields with
 * NEEDED. */
enum {
    FLAG = 1,
    WHOLE = 2,
    NUMBER = 4,
    TEXT = 8,
    LIST = 16,
    OBJECT = 32,
    NEEDED = 64, /* PEFT fails if the value is null */
};

#define READ ADAPTER_FIELD_READ
#define HARMLESS ADAPTER_FIELD_HARMLESS
#define OFF ADAPTER_FIELD_OFF

/* The advice for variants of LoRA that do not add a product to the base, or that exist only for
 * other bases. */
#define MERGE_IN_PEFT "merge it in PEFT (merge_and_unload) and use the merged model"

/* clang-format off */
const struct adapter_field adapter_fields[] = {
    { "task_type", READ, TEXT, "CAUSAL_LM, or null" },
    { "peft_type", READ, TEXT | NEEDED, "LORA" },
    { "auto_mapping", HARMLESS, 0, "names Python classes" },
    { "peft_version", HARMLESS, 0, "says who wrote the file" },
    { "base_model_name_or_path", READ, TEXT, "used in messages; the command line names the base" },
    { "revision", HARMLESS, 0, "the base's revision on the hub" },
    { "inference_mode", HARMLESS, 0, "whether PEFT lets it be trained" },
    { "r", READ, WHOLE | NEEDED, "rank; absent: 8, PEFT's default" },
    { "target_modules", READ, TEXT | LIST, "names that match the end of a module's name; a text is a regular expression, or all-linear; null: q_proj and v_proj, except in a smollm3, ministral, granite, olmo2 or phi3, where it is refused, as by PEFT" },
    { "exclude_modules", READ, TEXT | LIST, "the same, for modules that have no adapter" },
    { "lora_alpha", READ, NUMBER | NEEDED, "the scale is lora_alpha / r; absent: 8, PEFT's default" },
    { "lora_dropout", READ, NUMBER | NEEDED, "used in training only" },
    { "fan_in_fan_out", HARMLESS, 0, "PEFT treats it as false on a linear layer and an embedding" },
    { "bias", READ, TEXT | NEEDED, "none, all or lora_only: a stored bias replaces the base's; training goes on with the stored biases only if every bias that this field names is stored; a stored bias is refused if the base has no bias there" },
    { "use_rslora", READ, FLAG, "the scale is lora_alpha / √r" },
    { "modules_to_save", READ, LIST, "embedding, norms, linear layers and head that are replaced; on a tied base, naming only one of embedding and head unties the two" },
    { "init_lora_weights", READ, FLAG | TEXT, "true, false, gaussian, orthogonal, eva, mica: they leave the base unchanged; mica is not trained further" },
    { "layers_to_transform", READ, WHOLE | LIST, "the layers that have adapters, if target_modules is a list" },
    { "layers_pattern", READ, TEXT | LIST, "name of the list of layers, for layers_to_transform" },
    { "rank_pattern", READ, OBJECT | NEEDED, "rank by module: the first regular expression that matches the end of its name" },
    { "alpha_pattern", READ, OBJECT | NEEDED, "lora_alpha by module, likewise" },
    { "megatron_config", OFF, 0, "it is for Megatron's layers, which a LLaMA in Hugging Face's format does not have: " MERGE_IN_PEFT },
    { "megatron_core", HARMLESS, 0, "only read with megatron_config" },
    { "trainable_token_indices", READ, LIST | OBJECT, "rows of the embedding that are replaced (of a tied head too); not trained further" },
    { "loftq_config", HARMLESS, 0, "only read with init_lora_weights: loftq" },
    { "eva_config", HARMLESS, 0, "only read when the adapter is made; rank_pattern has the ranks that EVA chose" },
    { "corda_config", HARMLESS, 0, "only read with init_lora_weights: corda" },
    { "lora_ga_config", HARMLESS, 0, "only read with init_lora_weights: lora_ga" },
    { "use_dora", READ, FLAG, "DoRA: only `merge` supports it" },
    { "velora_config", HARMLESS, 0, "decides how training computes gradients, so it is not trained further; its tensors lora_velora_embed are ignored" },
    { "alora_invocation_tokens", OFF, 0, "the adapter is active only after these tokens, which neither a merged model nor this program supports: use PEFT or vLLM" },
    { "use_qalora", OFF, 0, "it belongs to bases quantized by GPTQ, which are not supported: " MERGE_IN_PEFT },
    { "qalora_group_size", HARMLESS, 0, "only read with use_qalora" },
    { "monteclora_config", HARMLESS, 0, "adds noise in training only, so it is not trained further; its tensors lora_monteclora_sampler are ignored" },
    { "layer_replication", OFF, 0, "the base would have more layers than its files: merge that model first (mergekit's passthrough), then train the adapter on it" },
    { "runtime_config", HARMLESS, 0, "PEFT does not read it from a file" },
    { "lora_bias", READ, FLAG, "B has a bias: only `merge` supports it; a linear layer without a bias gets one, if the model's config can say so (attention_bias, mlp_bias)" },
    { "target_parameters", OFF, 0, "it selects parameters of mixtures of experts, which are not supported" },
    { "use_bdlora", OFF, 0, "block-diagonal matrices are not supported: " MERGE_IN_PEFT },
    { "arrow_config", OFF, 0, "it routes each token to other adapters: name one of them, or merge them by weights (--adapter DIR:WEIGHT)" },
    { "kasa_config", OFF, 0, "KaSA changes the base when it is made: " MERGE_IN_PEFT },
    { "ensure_weight_tying", READ, FLAG, "on a tied base embedding and head stay tied; LoRA on both of them is then refused" },
};
/* clang-format on */
_Static_assert(sizeof adapter_fields / sizeof *adapter_fields == ADAPTER_FIELDS,
               "PEFT 0.21 has 42 fields");

static const struct {
    unsigned type;
    const char *name;
} type_names[] = {
    { FLAG, "true or false" }, { WHOLE, "a whole number" }, { NUMBER, "a number" },
    { TEXT, "a text" },        { LIST, "a list" },          { OBJECT, "an object" }
};
enum { TYPES = sizeof type_names / sizeof *type_names };

static unsigned types_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_TRUE:
    case JSON_FALSE:
        return FLAG;
    case JSON_INTEGER:
        return WHOLE | NUMBER;
    case JSON_REAL:
        return NUMBER;
    case JSON_STRING:
        return TEXT;
    case JSON_ARRAY:
        return LIST;
    case JSON_OBJECT:
        return OBJECT;
    default:
        return 0;
    }
}

static bool is_off(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && !json_array_size(value)) ||
           (json_is_object(value) && !json_object_size(value));
}

static int refuse_type(const struct adapter_field *f, struct fail *why)
{
    char names[120] = "";
    size_t used = 0;
    for (int i = 0; i < TYPES; i++)
        if (f->types & type_names[i].type)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? " or " : "",
                                     type_names[i].name);
    return fail_input(why, "%s is not %s", f->name, names);
}

static const struct adapter_field *find_field(const char *name)
{
    for (int i = 0; i < ADAPTER_FIELDS; i++)
        if (!strcmp(adapter_fields[i].name, name)) return &adapter_fields[i];
    return NULL;
}

static int check_field(const struct adapter_field *f, const json_t *value, struct fail *why)
{
    if (f->rule == HARMLESS) return 0;
    if (f->rule == OFF) return is_off(value) ? 0 : fail_input(why, "%s: %s", f->name, f->text);
    if (json_is_null(value) && f->types & NEEDED)
        return fail_input(
            why, "%s is null, with which PEFT fails: remove it, and PEFT's default is used",
            f->name);
    return json_is_null(value) || types_of(value) & f->types ? 0 : refuse_type(f, why);
}

int adapter_fields_check(const json_t *config, struct fail *why)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)config, name, value)
    {
        const struct adapter_field *f = find_field(name);
        if (f ? check_field(f, value, why) : 0) return -1;
        /* merge_weights is a field of early versions of PEFT. */
        if (f || is_off(value) || !strcmp(name, "merge_weights")) continue;
        return fail_input(why,
                          "'%.60s': PEFT 0.21 does not have this field, so its effect is not "
                          "known: delete it if PEFT computes the same without it",
                          name);
    }
    return 0;
}

int adapter_check_init(const json_t *init, struct fail *why)
{
    static const char *const kept[] = { "gaussian", "orthogonal", "eva", "mica" };
    static const char *const changed[] = { "pissa", "olora", "corda", "loftq", "lora_ga" };
    const char *name = json_string_value(init);
    if (!name) return 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!strcasecmp(name, kept[i])) return 0;
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        if (!strncasecmp(name, changed[i], strlen(changed[i])))
            return fail_input(
                why,
                "init_lora_weights '%.40s' changes the base when the adapter is made, so that the "
                "adapter fits no other: %s",
                name,
                strcasecmp(name, "loftq")
                    ? "save it by PEFT's save_pretrained(..., "
                      "path_initial_model_for_weight_conversion=...), which makes plain LoRA of it"
                    : "merge it in PEFT, into the base that it was made with");
    return fail_input(why, "init_lora_weights '%.40s' is none that PEFT 0.21 has", name);
}
