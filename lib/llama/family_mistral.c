/* Mistral and Ministral. If sliding_window is set, all layers have sliding window attention, unless
 * layer_types says for each layer whether it has it. Ministral's configs have layer_types. */
#include "lib/llama/families.h"

static const char window_meaning[] =
    "how many keys a query sees, its own included; null: all; absent: 4096";

static const struct config_key mistral_keys[] = {
    { "sliding_window", CONFIG_KEY_UNDERSTOOD, window_meaning },
    { "layer_types", CONFIG_KEY_UNDERSTOOD,
      "`full_attention` or `sliding_attention` for each layer, as in transformers 5, whose "
      "AutoModel then loads the model as a ministral; absent: all layers have the window" },
    FAMILY_NO_USE_WINDOW,
    FAMILY_NO_WINDOW_LAYERS,
    { 0 },
};

enum { DEFAULT_WINDOW = 4096 };

/* Fails if layer_types mixes layers with and without a window, and head_dim is missing.
 * transformers 4 ignores layer_types and gives every layer the window. transformers 5 loads such a
 * model as a ministral, for which head_dim is required. */
static int check_versions(const struct config *c, struct fail *why)
{
    bool is_mixed = false;
    for (int64_t layer = 1; layer < c->layers; layer++)
        is_mixed = is_mixed || config_window(c, layer) != config_window(c, 0);
    if (!is_mixed || json_is_integer(json_object_get(c->json, "head_dim"))) return 0;
    return fail_input(why, "layer_types has two kinds of layers, so head_dim is needed, as in "
                           "transformers 5, which takes the model for a ministral");
}

static int read_mistral(struct config *c, struct fail *why)
{
    int64_t window;
    if (family_read_window(c, DEFAULT_WINDOW, &window, why)) return -1;
    int found = family_read_layer_types(c, window, why);
    if (!found) family_set_window(c, window, 0);
    return found < 0 || check_versions(c, why) ? -1 : 0;
}

const struct family_features family_mistral = { mistral_keys, read_mistral };

static const struct config_key ministral_keys[] = {
    { "sliding_window", CONFIG_KEY_UNDERSTOOD, window_meaning },
    { "layer_types", CONFIG_KEY_UNDERSTOOD,
      "`full_attention` or `sliding_attention` for each layer; absent: all layers have the "
      "window" },
    FAMILY_NO_USE_WINDOW,
    FAMILY_NO_WINDOW_LAYERS,
    { 0 },
};

static int read_ministral(struct config *c, struct fail *why)
{
    int64_t window;
    if (family_read_window(c, DEFAULT_WINDOW, &window, why)) return -1;
    if (window == INT64_MAX)
        return fail_input(why, "sliding_window is null, which transformers' ministral does not "
                               "support: write model_type mistral if no layer has a window");
    int found = family_read_layer_types(c, window, why);
    if (!found) family_set_window(c, window, 0);
    return found < 0 ? -1 : 0;
}

const struct family_features family_ministral = { ministral_keys, read_ministral };
