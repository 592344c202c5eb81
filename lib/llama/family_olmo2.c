/* OLMo 2: norms follow attention and MLP, and none come before them. All heads of q pass through
 * one norm together, and so do those of k. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    { "rms_norm_eps", CONFIG_KEY_UNDERSTOOD, "absent: 1e-5; a whole number (1) is refused" },
    FAMILY_ATTENTION_BIAS,
    FAMILY_NO_WINDOW,
    { 0 },
};

static int read(struct config *c, struct fail *why)
{
    c->norm_eps = 1e-5;
    c->has_head_norms = c->norms_join_heads = c->has_post_norms = true;
    c->has_pre_norms = false;
    return family_read_attention_bias(c, why) || family_read_no_window(c, why) ? -1 : 0;
}

const struct family_features family_olmo2 = { keys, read };
