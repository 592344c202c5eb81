/* Granite 3: LLaMA with factors on embeddings, attention, residuals and logits. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    { "embedding_multiplier", CONFIG_KEY_UNDERSTOOD, "factor of the embeddings; absent: 1" },
    { "attention_multiplier", CONFIG_KEY_UNDERSTOOD,
      "factor of q·k, instead of head_dim^-0.5; absent: 1" },
    { "residual_multiplier", CONFIG_KEY_UNDERSTOOD,
      "factor of what attention and MLP add to the residual; absent: 1" },
    { "logits_scaling", CONFIG_KEY_UNDERSTOOD, "the logits are divided by it; absent: 1" },
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
    double divisor = 1;
    c->attention_scale = 1;
    if (family_read_attention_bias(c, why) || family_read_mlp_bias(c, why) ||
        family_read_scale(c, "embedding_multiplier", &c->embedding_scale, why) ||
        family_read_scale(c, "attention_multiplier", &c->attention_scale, why) ||
        family_read_scale(c, "residual_multiplier", &c->residual_scale, why) ||
        family_read_scale(c, "logits_scaling", &divisor, why) ||
        family_read_window(c, INT64_MAX, &c->limit, why))
        return -1;
    c->logit_scale = 1 / divisor;
    return family_read_layer_types(c, INT64_MAX, why) < 0 ? -1 : 0;
}

const struct family_features family_granite = { keys, read };
