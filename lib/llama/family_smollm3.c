/* SmolLM3: in some layers, by default every fourth, q and k are not rotated. These layers may have
 * a sliding window, unless layer_types lists other layers for it. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    { "no_rope_layers", CONFIG_KEY_UNDERSTOOD,
      "for each layer 1 if q and k are rotated, 0 if not; absent, null: no_rope_layer_interval "
      "decides" },
    { "no_rope_layer_interval", CONFIG_KEY_UNDERSTOOD,
      "4: in every fourth layer q and k are not rotated; absent: 4" },
    { "use_sliding_window", CONFIG_KEY_UNDERSTOOD, "false: no layer has a window; absent: false" },
    { "sliding_window", CONFIG_KEY_UNDERSTOOD,
      "if use_sliding_window is true, how many keys a query sees, its own included, in layers "
      "whose q and k are not rotated; null, absent: all" },
    { "layer_types", CONFIG_KEY_UNDERSTOOD,
      "`full_attention` or `sliding_attention` for each layer; if it exists, it decides which "
      "layers have the window" },
    { "max_window_layers", CONFIG_KEY_HARMLESS, "transformers reads it only in other families" },
    FAMILY_ATTENTION_BIAS,
    FAMILY_MLP_BIAS,
    { 0 },
};

enum { DEFAULT_INTERVAL = 4 };

static int read_list(struct config *c, const json_t *list, struct fail *why)
{
    if (!json_is_array(list) || (int64_t)json_array_size(list) < c->layers)
        return fail_input(why, "no_rope_layers is not a list of %lld", (long long)c->layers);
    for (int64_t layer = 0; layer < c->layers; layer++) {
        const json_t *item = json_array_get(list, (size_t)layer);
        if (!json_is_integer(item))
            return fail_input(why, "no_rope_layers: number %lld is not a whole number",
                              (long long)layer);
        if (!json_integer_value(item)) layer_set_add(&c->unrotated, layer);
    }
    return 0;
}

static int read_unrotated(struct config *c, struct fail *why)
{
    const json_t *list = json_object_get(c->json, "no_rope_layers");
    int64_t interval = DEFAULT_INTERVAL;
    if (list && !json_is_null(list)) return read_list(c, list, why);
    if (json_get_count(c->json, "no_rope_layer_interval", INT64_MAX, &interval, why)) return -1;
    if (!interval) return fail_input(why, "no_rope_layer_interval is 0");
    for (int64_t layer = 0; layer < c->layers; layer++)
        if ((layer + 1) % interval == 0) layer_set_add(&c->unrotated, layer);
    return 0;
}

static int read_windows(struct config *c, struct fail *why)
{
    bool uses = false;
    int64_t window;
    if (json_get_flag(c->json, "use_sliding_window", &uses, why) ||
        family_read_window(c, INT64_MAX, &window, why))
        return -1;
    int found = family_read_layer_types(c, window, why);
    if (found < 0) return -1;
    /* transformers gives no single result for such a file: its masks depend on layer_types, but its
     * FlashAttention depends on use_sliding_window. */
    if (found && !uses && c->window < INT64_MAX)
        return fail_input(why, "use_sliding_window is false, but layer_types has "
                               "sliding_attention: change the wrong one");
    if (found || !uses || window == INT64_MAX) return 0;
    c->window = window;
    c->windowed = c->unrotated;
    return 0;
}

static int read(struct config *c, struct fail *why)
{
    return family_read_attention_bias(c, why) || family_read_mlp_bias(c, why) ||
                   read_unrotated(c, why) || read_windows(c, why)
               ? -1
               : 0;
}

const struct family_features family_smollm3 = { keys, read };
