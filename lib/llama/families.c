#include "lib/llama/families.h"

#include <float.h>

static const struct family families[] = {
    { .model_type = "llama",
      .vocab = 32000,
      .dim = 4096,
      .ffn = 11008,
      .layers = 32,
      .heads = 32,
      .max_position = 2048,
      .theta = 10000,
      .head_dim = HEAD_DIM_WHOLE,
      .reads_attention_bias = true,
      .reads_mlp_bias = true,
      .has_peft_targets = true,
      .features = &family_llama },
    { .model_type = "mistral",
      .vocab = 32000,
      .dim = 4096,
      .ffn = 14336,
      .layers = 32,
      .heads = 32,
      .kv_heads = 8,
      .max_position = 4096 * 32,
      .theta = 10000,
      .head_dim = HEAD_DIM_FLOOR,
      .has_peft_targets = true,
      .features = &family_mistral },
    { .model_type = "ministral",
      .vocab = 32000,
      .dim = 4096,
      .ffn = 14336,
      .layers = 32,
      .heads = 32,
      .kv_heads = 8,
      .max_position = 4096 * 32,
      .theta = 10000,
      .head_dim = HEAD_DIM_NEEDED,
      .needs_kv_heads = true,
      .features = &family_ministral },
    { .model_type = "qwen2",
      .vocab = 151936,
      .dim = 4096,
      .ffn = 22016,
      .layers = 32,
      .heads = 32,
      .kv_heads = 32,
      .max_position = 32768,
      .theta = 10000,
      .head_dim = HEAD_DIM_ABSENT,
      .has_peft_targets = true,
      .features = &family_qwen2 },
    { .model_type = "qwen3",
      .vocab = 151936,
      .dim = 4096,
      .ffn = 22016,
      .layers = 32,
      .heads = 32,
      .kv_heads = 32,
      .max_position = 32768,
      .theta = 10000,
      .head_dim = HEAD_DIM_128,
      .reads_attention_bias = true,
      .has_peft_targets = true,
      .features = &family_qwen3 },
    { .model_type = "smollm3",
      .vocab = 128256,
      .dim = 2048,
      .ffn = 11008,
      .layers = 36,
      .heads = 16,
      .kv_heads = 4,
      .max_position = 32768,
      .theta = 2000000,
      .head_dim = HEAD_DIM_ABSENT,
      .is_tied = true,
      .reads_attention_bias = true,
      .reads_mlp_bias = true,
      .features = &family_smollm3 },
    { .model_type = "granite",
      .vocab = 32000,
      .dim = 4096,
      .ffn = 11008,
      .layers = 32,
      .heads = 32,
      .max_position = 2048,
      .theta = 10000,
      .head_dim = HEAD_DIM_ABSENT,
      .reads_attention_bias = true,
      .reads_mlp_bias = true,
      .features = &family_granite },
    { .model_type = "olmo2",
      .vocab = 50304,
      .dim = 4096,
      .ffn = 11008,
      .layers = 32,
      .heads = 32,
      .max_position = 2048,
      .theta = 10000,
      .head_dim = HEAD_DIM_ABSENT,
      .reads_attention_bias = true,
      .features = &family_olmo2 },
    { .model_type = "gemma3_text",
      .vocab = 262208,
      .dim = 2304,
      .ffn = 9216,
      .layers = 26,
      .heads = 8,
      .kv_heads = 4,
      .max_position = 131072,
      .theta = 1000000,
      .local_theta = 10000,
      .head_dim = HEAD_DIM_256,
      .needs_kv_heads = true,
      .activation_key = "hidden_activation",
      .activation = ACTIVATION_GELU_TANH,
      .is_tied = true,
      .reads_attention_bias = true,
      .has_peft_targets = true,
      .features = &family_gemma3 },
    { .model_type = "phi3",
      .vocab = 32064,
      .dim = 3072,
      .ffn = 8192,
      .layers = 32,
      .heads = 32,
      .max_position = 4096,
      .theta = 10000,
      .head_dim = HEAD_DIM_ABSENT,
      .has_partial_rotary = true,
      .has_longrope = true,
      .original_position = 4096,
      .features = &family_phi3 },
};

const struct family *family_at(size_t i)
{
    return i < sizeof families / sizeof *families ? &families[i] : NULL;
}

const struct family *family_find(const char *model_type)
{
    const struct family *f;
    for (size_t i = 0; (f = family_at(i)); i++)
        if (!strcmp(f->model_type, model_type)) return f;
    return NULL;
}

const char *family_advice(const char *model_type)
{
    if (!strcmp(model_type, "gemma3"))
        return "; docs/config.md tells how its text model is saved alone, which is a gemma3_text";
    return "";
}

/* ---- functions that several families use ---- */

int family_read_window(const struct config *c, int64_t fallback, int64_t *window, struct fail *why)
{
    const json_t *found = json_object_get(c->json, "sliding_window");
    *window = found ? INT64_MAX : fallback;
    if (found && !json_is_null(found) &&
        json_get_count(c->json, "sliding_window", INT64_MAX, window, why))
        return -1;
    return *window ? 0 : fail_input(why, "sliding_window is not positive");
}

void family_set_window(struct config *c, int64_t window, int64_t first)
{
    if (window == INT64_MAX) return;
    c->window = window;
    for (int64_t layer = first; layer < c->layers; layer++)
        layer_set_add(&c->windowed, layer);
}

int family_read_layer_types(struct config *c, int64_t window, struct fail *why)
{
    const json_t *list = json_object_get(c->json, "layer_types");
    size_t i;
    json_t *item;
    if (!list || json_is_null(list)) return 0;
    if (!json_is_array(list) || (int64_t)json_array_size(list) != c->layers)
        return fail_input(why, "layer_types is not a list of %lld texts", (long long)c->layers);
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        bool is_windowed = name && !strcmp(name, "sliding_attention");
        if (!is_windowed && (!name || strcmp(name, "full_attention") != 0))
            return fail_input(why,
                              "layer_types: '%.40s' at layer %zu is not supported, only "
                              "full_attention and sliding_attention",
                              name ? name : "?", i);
        if (is_windowed && window == INT64_MAX)
            return fail_input(why, "layer_types: layer %zu has 'sliding_attention', but %s", i,
                              json_is_integer(json_object_get(c->json, "sliding_window"))
                                  ? "this model_type has no sliding_window: remove layer_types"
                                  : "there is no sliding_window");
        if (!is_windowed) continue;
        c->window = window;
        layer_set_add(&c->windowed, (int64_t)i);
    }
    return 1;
}

int family_read_attention_bias(struct config *c, struct fail *why)
{
    bool has = false;
    if (json_get_flag(c->json, "attention_bias", &has, why)) return -1;
    c->has_qkv_bias = c->has_o_bias = has;
    return 0;
}

int family_read_mlp_bias(struct config *c, struct fail *why)
{
    return json_get_flag(c->json, "mlp_bias", &c->has_mlp_bias, why);
}

int family_read_scale(const struct config *c, const char *key, double *scale, struct fail *why)
{
    if (json_is_null(json_object_get(c->json, key)))
        return fail_input(why, "%s is null, which is no number", key);
    if (json_get_real(c->json, key, scale, why)) return -1;
    if (!(*scale > 0) || !((float)*scale > 0) || *scale > (double)FLT_MAX)
        return fail_input(why, "%s is %g, no positive number of f32", key, *scale);
    return 0;
}

int family_read_no_window(struct config *c, struct fail *why)
{
    if (family_read_window(c, INT64_MAX, &c->limit, why)) return -1;
    return family_read_layer_types(c, INT64_MAX, why) < 0 ? -1 : 0;
}

int family_read_biases_no_window(struct config *c, struct fail *why)
{
    return family_read_attention_bias(c, why) || family_read_mlp_bias(c, why) ||
                   family_read_no_window(c, why)
               ? -1
               : 0;
}
