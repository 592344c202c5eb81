#include "lib/llama/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct gguf_architecture architectures[] = {
    { "llama", "llama", "LlamaForCausalLM", true },
};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

const struct gguf_architecture *gguf_architecture_at(size_t i)
{
    return i < ARCHITECTURES ? &architectures[i] : NULL;
}

/* The names of modules in transformers and in GGUF files. Those with in_layer are without their
 * prefixes, "model.layers.N." and "blk.N.". */
static const struct {
    const char *module, *gguf;
    bool in_layer;
} modules[] = {
    { "model.embed_tokens", "token_embd", false },
    { "model.norm", "output_norm", false },
    { "lm_head", "output", false },
    { "input_layernorm", "attn_norm", true },
    { "self_attn.q_proj", "attn_q", true },
    { "self_attn.k_proj", "attn_k", true },
    { "self_attn.v_proj", "attn_v", true },
    { "self_attn.o_proj", "attn_output", true },
    { "self_attn.q_norm", "attn_q_norm", true },
    { "self_attn.k_norm", "attn_k_norm", true },
    { "post_attention_layernorm", "ffn_norm", true },
    { "mlp.gate_proj", "ffn_gate", true },
    { "mlp.up_proj", "ffn_up", true },
    { "mlp.down_proj", "ffn_down", true },
};

bool gguf_tensor_name(const char *name, char *to, size_t size)
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
        snprintf(to, size, "%s%s%s", before, modules[i].gguf, dot);
        return true;
    }
    return false;
}

bool gguf_is_rotated(const char *name)
{
    return strstr(name, ".self_attn.q_proj.") || strstr(name, ".self_attn.k_proj.");
}
