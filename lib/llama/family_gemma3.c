/* Gemma 3, for text only. There are norms before and after attention and MLP, and QK norms. All
 * norms multiply by 1 + weight. The embedding's output is multiplied by a factor, and the
 * activation of the MLP's gate is GELU. Most layers have a sliding window, and RoPE with a theta of
 * their own. */
#include "lib/llama/families.h"

#include <math.h>

static const struct config_key keys[] = {
    { "hidden_activation", CONFIG_KEY_UNDERSTOOD,
      "`gelu_pytorch_tanh`, `silu` or `swish`; absent: gelu_pytorch_tanh" },
    { "hidden_act", CONFIG_KEY_HARMLESS,
      "in this family transformers reads hidden_activation instead" },
    { "query_pre_attn_scalar", CONFIG_KEY_UNDERSTOOD,
      "q·k is divided by its square root; absent: 256" },
    { "sliding_window", CONFIG_KEY_UNDERSTOOD,
      "how many keys a query sees, its own included, in layers of type sliding_attention; absent: "
      "4096" },
    { "layer_types", CONFIG_KEY_UNDERSTOOD,
      "`full_attention` or `sliding_attention` for each layer; absent, null: "
      "sliding_window_pattern decides" },
    { "sliding_window_pattern", CONFIG_KEY_UNDERSTOOD,
      "6: every sixth layer has full attention; absent: 6" },
    { "_sliding_window_pattern", CONFIG_KEY_HARMLESS,
      "transformers writes it but does not read it" },
    { "rope_local_base_freq", CONFIG_KEY_UNDERSTOOD,
      "rope_theta of layers of type sliding_attention; absent: 10000" },
    { "rope_parameters", CONFIG_KEY_UNDERSTOOD,
      "transformers 5's form: an object `full_attention`, and an object `sliding_attention`, which "
      "has only rope_theta" },
    { "rope_scaling", CONFIG_KEY_UNDERSTOOD,
      "for layers of type full_attention; the type must have the key rope_type, which transformers "
      "5 reads" },
    { "final_logit_softcapping", CONFIG_KEY_UNDERSTOOD, "null; others are refused" },
    { "attn_logit_softcapping", CONFIG_KEY_UNDERSTOOD, "null; others are refused" },
    { "use_bidirectional_attention", CONFIG_KEY_UNDERSTOOD, "false or null; true is refused" },
    { "cache_implementation", CONFIG_KEY_HARMLESS,
      "how transformers computes; the result is the same" },
    FAMILY_ATTENTION_BIAS,
    { 0 },
};

enum { DEFAULT_WINDOW = 4096, DEFAULT_PATTERN = 6, DEFAULT_SCALAR = 256 };

static int read_windows(struct config *c, struct fail *why)
{
    int64_t window, pattern = DEFAULT_PATTERN;
    if (family_read_window(c, DEFAULT_WINDOW, &window, why) ||
        json_get_count(c->json, "sliding_window_pattern", INT64_MAX, &pattern, why))
        return -1;
    if (window == INT64_MAX)
        return fail_input(why, "sliding_window is null, which transformers does not support");
    int found = family_read_layer_types(c, window, why);
    if (found) return found < 0 ? -1 : 0;
    if (!pattern) return fail_input(why, "sliding_window_pattern is 0");
    for (int64_t layer = 0; layer < c->layers; layer++) {
        if ((layer + 1) % pattern == 0) continue;
        c->window = window;
        layer_set_add(&c->windowed, layer);
    }
    return 0;
}

static int refuse_others(const struct config *c, struct fail *why)
{
    static const char *const softcaps[] = { "final_logit_softcapping", "attn_logit_softcapping" };
    bool looks_ahead = false;
    for (int i = 0; i < 2; i++) {
        const json_t *found = json_object_get(c->json, softcaps[i]);
        if (found && !json_is_null(found))
            return fail_input(why, "%s: soft capping is not supported, only null", softcaps[i]);
    }
    if (json_get_flag(c->json, "use_bidirectional_attention", &looks_ahead, why)) return -1;
    if (looks_ahead)
        return fail_input(
            why, "use_bidirectional_attention: true: attention to later tokens is not supported");
    if (c->dim % c->heads)
        return fail_input(why,
                          "hidden_size %lld is no multiple of %lld heads, which transformers "
                          "refuses",
                          (long long)c->dim, (long long)c->heads);
    return 0;
}

static int read(struct config *c, struct fail *why)
{
    int64_t scalar = DEFAULT_SCALAR;
    if (family_read_attention_bias(c, why) || read_windows(c, why) || refuse_others(c, why) ||
        json_get_count(c->json, "query_pre_attn_scalar", INT32_MAX, &scalar, why))
        return -1;
    if (json_is_null(json_object_get(c->json, "tie_word_embeddings")))
        return fail_input(why, "tie_word_embeddings is null, which transformers refuses");
    if (!scalar) return fail_input(why, "query_pre_attn_scalar is 0");
    c->attention_scale = 1 / sqrt((double)scalar);
    c->embedding_scale = sqrt((double)c->dim);
    c->rounds_embedding_scale = true;
    c->has_head_norms = c->has_post_norms = c->norm_adds_one = true;
    return 0;
}

const struct family_features family_gemma3 = { keys, read };
