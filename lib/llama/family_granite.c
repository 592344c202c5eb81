/* Granite 3: LLaMA with factors on embeddings, attention, residuals and logits. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    { "embedding_multiplier", CONFIG_KEY_UNDERSTOOD, "factor of the embeddings; absent: 1" },
    { "attention_multiplier", CONFIG_KEY_UNDERSTOOD,
      "factor of q·k, instead of head_dim^-0.5; absent: 1" },
    { "residual_multiplier", CONFIG_KEY_UNDERSTOOD,
      "factor of what attention and MLP add to the residual; absent: 1" },
    { "logits_scaling", CONFIG_KEY_UNDERSTOOD, "the logits are divided by it; absent: 1" },
    FAMILY_BIASES_NO_WINDOW,
    { 0 },
};

static int read(struct config *c, struct fail *why)
{
    double divisor = 1;
    c->attention_scale = 1;
    if (family_read_biases_no_window(c, why) ||
        family_read_scale(c, "embedding_multiplier", &c->embedding_scale, why) ||
        family_read_scale(c, "attention_multiplier", &c->attention_scale, why) ||
        family_read_scale(c, "residual_multiplier", &c->residual_scale, why) ||
        family_read_scale(c, "logits_scaling", &divisor, why))
        return -1;
    c->logit_scale = 1 / divisor;
    return 0;
}

const struct family_features family_granite = { keys, read };
