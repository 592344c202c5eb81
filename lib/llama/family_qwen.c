/* Qwen2 and Qwen2.5, whose q, k and v have biases, and Qwen3, which has QK norm. All of them may
 * have a sliding window, in the layers that layer_types lists or else from max_window_layers on. */
#include "lib/llama/families.h"

#define WINDOW_KEYS                                                                                \
    { "use_sliding_window", CONFIG_KEY_UNDERSTOOD,                                                 \
      "false: no layer has a window; absent: false" },                                             \
        { "sliding_window", CONFIG_KEY_UNDERSTOOD,                                                 \
          "if use_sliding_window is true, how many keys a query sees, its own included; null: "    \
          "all; absent: 4096" },                                                                   \
        { "max_window_layers", CONFIG_KEY_UNDERSTOOD,                                              \
          "the layers from this number on have the window; absent: 28" },                          \
    {                                                                                              \
        "layer_types", CONFIG_KEY_UNDERSTOOD,                                                      \
            "`full_attention` or `sliding_attention` for each layer; if it exists, it decides "    \
            "which layers have the window"                                                         \
    }

static const struct config_key qwen2_keys[] = {
    WINDOW_KEYS,
    { "attention_bias", CONFIG_KEY_HARMLESS,
      "transformers does not read it in this family: q, k and v always have biases" },
    { 0 },
};

static const struct config_key qwen3_keys[] = {
    WINDOW_KEYS,
    FAMILY_ATTENTION_BIAS,
    { 0 },
};

enum { DEFAULT_WINDOW = 4096, DEFAULT_WINDOW_LAYERS = 28 };

static int read_windows(struct config *c, struct fail *why)
{
    bool uses = false;
    int64_t window = INT64_MAX, first = DEFAULT_WINDOW_LAYERS;
    if (json_get_flag(c->json, "use_sliding_window", &uses, why) ||
        json_get_count(c->json, "max_window_layers", INT64_MAX, &first, why) ||
        (uses && family_read_window(c, DEFAULT_WINDOW, &window, why)))
        return -1;
    int found = family_read_layer_types(c, window, why);
    if (!found) family_set_window(c, window, first);
    return found < 0 ? -1 : 0;
}

static int read_qwen2(struct config *c, struct fail *why)
{
    c->has_qkv_bias = true;
    return read_windows(c, why);
}

static int read_qwen3(struct config *c, struct fail *why)
{
    c->has_head_norms = true;
    return family_read_attention_bias(c, why) || read_windows(c, why) ? -1 : 0;
}

const struct family_features family_qwen2 = { qwen2_keys, read_qwen2 };
const struct family_features family_qwen3 = { qwen3_keys, read_qwen3 };
