/* Phi-3, Phi-3.5-mini, Phi-4 and Phi-4-mini: q, k and v are one linear layer, and gate and up are
 * another. The position scaling may be longrope, only a part of each head may be rotated, and all
 * layers may have a sliding window. */
#include "lib/llama/families.h"

static const struct config_key keys[] = {
    { "sliding_window", CONFIG_KEY_UNDERSTOOD,
      "how many keys a query sees, its own included; null, absent: all" },
    { "rms_norm_eps", CONFIG_KEY_UNDERSTOOD, "absent: 1e-5; a whole number (1) is refused" },
    { "partial_rotary_factor", CONFIG_KEY_UNDERSTOOD,
      "the share of each head that is rotated, from the head's beginning; absent: 1" },
    { "original_max_position_embeddings", CONFIG_KEY_UNDERSTOOD,
      "up to this length longrope uses short_factor; absent: 4096 if the type is longrope" },
    FAMILY_NO_USE_WINDOW,
    FAMILY_NO_WINDOW_LAYERS,
    { "resid_pdrop", CONFIG_KEY_UNDERSTOOD,
      "must be 0 for `train`, which does not apply it; no effect on the other programs" },
    { "embd_pdrop", CONFIG_KEY_HARMLESS, "transformers does not apply it" },
    { 0 },
};

/* transformers refuses null where it expects a number. */
static int refuse_nulls(const json_t *config, struct fail *why)
{
    static const char *const numbers[] = { "original_max_position_embeddings", "resid_pdrop",
                                           "embd_pdrop", "attention_dropout" };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (json_is_null(json_object_get(config, numbers[i])))
            return fail_input(why, "%s is null, which is no number", numbers[i]);
    return 0;
}

static int read(struct config *c, struct fail *why)
{
    int64_t window;
    c->has_fused_qkv = c->has_fused_gate_up = true;
    c->norm_eps = 1e-5;
    if (refuse_nulls(c->json, why) || family_read_window(c, INT64_MAX, &window, why) ||
        json_get_real(c->json, "resid_pdrop", &c->residual_dropout, why))
        return -1;
    family_set_window(c, window, 0);
    return 0;
}

const struct family_features family_phi3 = { keys, read };
