/* LLaMA 1 to 3.3, and models of the same architecture: Vicuna, TinyLlama, SmolLM 1 and 2,
 * R1-Distill-Llama. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    FAMILY_ATTENTION_BIAS,
    FAMILY_MLP_BIAS,
    { "sliding_window", CONFIG_KEY_UNDERSTOOD,
      "longer contexts are refused: transformers' attention ignores the window, but its caches do "
      "not" },
    { "layer_types", CONFIG_KEY_UNDERSTOOD, "must be `full_attention` for every layer" },
    FAMILY_NO_USE_WINDOW,
    FAMILY_NO_WINDOW_LAYERS,
    { 0 },
};

static int read(struct config *c, struct fail *why)
{
    if (family_read_attention_bias(c, why) || family_read_mlp_bias(c, why) ||
        family_read_window(c, INT64_MAX, &c->limit, why))
        return -1;
    return family_read_layer_types(c, INT64_MAX, why) < 0 ? -1 : 0;
}

const struct family_features family_llama = { keys, read };
