#include "lib/llama/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct gguf_architecture architectures[] = {
    { .name = "llama",
      .model_types = { "llama", "mistral", "ministral" },
      .class = "LlamaForCausalLM",
      .interleaves = true,
      .has_all_biases = true,
      .has_factors = true },
    { .name = "qwen2",
      .model_types = { "qwen2" },
      .class = "Qwen2ForCausalLM",
      .has_whole_heads = true },
    { .name = "qwen3",
      .model_types = { "qwen3" },
      .class = "Qwen3ForCausalLM",
      .has_head_norms = true },
    { .name = "smollm3",
      .model_types = { "smollm3" },
      .class = "SmolLM3ForCausalLM",
      .interleaves = true,
      .unrotated = 4 },
    { .name = "granite",
      .model_types = { "granite" },
      .class = "GraniteForCausalLM",
      .interleaves = true,
      .has_all_biases = true,
      .has_factors = true,
      .has_scales = true },
    { .name = "mistral3",
      .model_types = { "mistral" },
      .class = "MistralForCausalLM",
      .interleaves = true,
      .has_all_biases = true,
      .has_factors = true },
    { .name = "gemma3",
      .model_types = { "gemma3_text" },
      .class = "Gemma3ForCausalLM",
      .has_head_norms = true,
      .has_post_norms = true,
      .norms_add_one = true,
      .has_windows = true,
      .has_gelu = true },
    { .name = "phi3",
      .model_types = { "phi3" },
      .class = "Phi3ForCausalLM",
      .has_whole_heads = true,
      .has_fused_linears = true,
      .has_longrope = true,
      .has_unused_window = true },
    { .name = "olmo2",
      .model_types = { "olmo2" },
      .class = "Olmo2ForCausalLM",
      .has_head_norms = true,
      .has_whole_heads = true,
      .has_post_norms = true,
      .lacks_pre_norms = true,
      .needs_head = true },
};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

const struct gguf_architecture *gguf_architecture_at(size_t i)
{
    return i < ARCHITECTURES ? &architectures[i] : NULL;
}

enum kind { ANY, QKV, GATE, HEAD_NORM, PRE_NORM, NO_POST_NORMS, POST_NORMS, BOTH_NORMS, FUSED };

/* The names of modules in transformers and in GGUF files. If in_layer is set, the names are without
 * their prefixes, "model.layers.N." and "blk.N.". */
static const struct module {
    const char *module, *gguf;
    bool in_layer;
    enum kind kind;
} modules[] = {
    { "model.embed_tokens", "token_embd", false, ANY },
    { "model.norm", "output_norm", false, ANY },
    { "lm_head", "output", false, ANY },
    { "input_layernorm", "attn_norm", true, PRE_NORM },
    { "self_attn.q_proj", "attn_q", true, QKV },
    { "self_attn.k_proj", "attn_k", true, QKV },
    { "self_attn.v_proj", "attn_v", true, QKV },
    { "self_attn.o_proj", "attn_output", true, ANY },
    { "self_attn.q_norm", "attn_q_norm", true, HEAD_NORM },
    { "self_attn.k_norm", "attn_k_norm", true, HEAD_NORM },
    { "post_attention_layernorm", "ffn_norm", true, NO_POST_NORMS },
    { "post_attention_layernorm", "post_attention_norm", true, POST_NORMS },
    { "pre_feedforward_layernorm", "ffn_norm", true, BOTH_NORMS },
    { "post_feedforward_layernorm", "post_ffw_norm", true, POST_NORMS },
    { "mlp.gate_proj", "ffn_gate", true, GATE },
    { "mlp.up_proj", "ffn_up", true, GATE },
    { "mlp.down_proj", "ffn_down", true, ANY },
    { "self_attn.qkv_proj", "attn_qkv", true, FUSED },
    { "mlp.gate_up_proj", "ffn_up", true, FUSED },
};

/* Does the architecture have this row of the table? */
static bool is_of(const struct gguf_architecture *a, enum kind kind)
{
    switch (kind) {
    case QKV:
    case GATE:
        return !a->has_fused_linears;
    case FUSED:
        return a->has_fused_linears;
    case HEAD_NORM:
        return a->has_head_norms;
    case PRE_NORM:
        return !a->lacks_pre_norms;
    case NO_POST_NORMS:
        return !a->has_post_norms;
    case POST_NORMS:
        return a->has_post_norms;
    case BOTH_NORMS:
        return a->has_post_norms && !a->lacks_pre_norms;
    default:
        return true;
    }
}

/* Does llama.cpp have such a tensor? `what` is ".weight" or ".bias". */
static bool is_there(const struct gguf_architecture *a, const struct module *m, const char *what)
{
    bool is_bias = !strcmp(what, ".bias");
    return is_of(a, m->kind) && (!is_bias || m->kind == QKV || a->has_all_biases);
}

bool gguf_tensor_name(const struct gguf_architecture *a, const char *name, char *to, size_t size)
{
    static const char layers[] = "model.layers.";
    bool in_layer = !strncmp(name, layers, sizeof layers - 1);
    char *module = (char *)name, before[32] = "";
    if (in_layer) {
        long layer = strtol(name + sizeof layers - 1, &module, 10);
        if (*module++ != '.') return false;
        snprintf(before, sizeof before, "blk.%ld.", layer);
    }
    const char *dot = strrchr(module, '.');
    if (!dot) return false;
    size_t length = (size_t)(dot - module);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        if (modules[i].in_layer != in_layer || strlen(modules[i].module) != length ||
            strncmp(modules[i].module, module, length) != 0)
            continue;
        if (!is_there(a, &modules[i], dot)) continue;
        snprintf(to, size, "%s%s%s", before, modules[i].gguf, dot);
        return true;
    }
    return false;
}

bool gguf_is_rotated(const char *name)
{
    return strstr(name, ".self_attn.q_proj.") || strstr(name, ".self_attn.k_proj.");
}
