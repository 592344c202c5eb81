"""Models whose weights are given by a formula, the same as in tests/lib/synthetic_model.c. Its header explains the formula."""
import math

import numpy as np

TOKENS = 1 << 20


def mix(x):
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def sequence(name, count):
    return mix(mix(np.full(count, name, np.uint64)) + np.arange(count, dtype=np.uint64))


def numbers(name, count):
    """Returns numbers that are uniform in [-1, 1), in steps of 2^-11."""
    return ((sequence(name, count) >> np.uint64(52)).astype(np.float64) - 2048) / 2048


def tokens(count, vocab):
    return (sequence(TOKENS, count) % np.uint64(vocab)).astype(np.int64)


def extras(c):
    """Returns what the model's family adds to LLaMA, as lib/llama/family_*.c reads it: linear layers with biases, and norms of heads."""
    kind = c.get("model_type", "llama")
    attention = bool(c.get("attention_bias")) and kind in ("llama", "qwen3", "smollm3", "granite", "gemma3_text", "olmo2")
    mlp = bool(c.get("mlp_bias")) and kind in ("llama", "smollm3", "granite")
    biased = ["q_proj", "k_proj", "v_proj"] if attention or kind == "qwen2" else []
    return biased + ["o_proj"] * attention + ["gate_proj", "up_proj", "down_proj"] * mlp, kind in ("qwen3", "gemma3_text", "olmo2")


def has_pre_norms(c):
    """True if norms come before attention and MLP."""
    return c.get("model_type") != "olmo2"


def has_post_norms(c):
    """True if norms follow attention and MLP."""
    return c.get("model_type") in ("gemma3_text", "olmo2")


def adds_one(c):
    """True if norms multiply by 1 + weight."""
    return c.get("model_type") == "gemma3_text"


def table(c):
    """Returns names and shapes in the order of lib/llama/tensors.h."""
    head_dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    biased, head_norms = extras(c)
    d, f, q = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"] * head_dim
    kv = c.get("num_key_value_heads", c["num_attention_heads"]) * head_dim
    yield "model.embed_tokens.weight", (c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        layer = (("input_layernorm", (d,)), ("self_attn.q_proj", (q, d)), ("self_attn.k_proj", (kv, d)),
                 ("self_attn.v_proj", (kv, d)), ("self_attn.o_proj", (d, q)), ("post_attention_layernorm", (d,)),
                 ("mlp.gate_proj", (f, d)), ("mlp.up_proj", (f, d)), ("mlp.down_proj", (d, f)))
        before = "input_layernorm" * has_pre_norms(c), "post_attention_layernorm" * (not has_post_norms(c))
        layer = [pair for pair in layer if not pair[0].endswith("layernorm") or pair[0] in before]
        fused = (("self_attn.qkv_proj", (q + 2 * kv, d)), ("mlp.gate_up_proj", (2 * f, d))) if c.get("model_type") == "phi3" else ()
        inside = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj") if fused else ()
        for name, shape in layer:
            if name.split(".")[-1] not in inside:
                yield f"model.layers.{i}.{name}.weight", shape
        for name, shape in layer:
            if name.split(".")[-1] in biased:
                yield f"model.layers.{i}.{name}.bias", shape[:1]
        for name, width in (("q", q), ("k", kv)) if head_norms else ():
            yield f"model.layers.{i}.self_attn.{name}_norm.weight", (width if c["model_type"] == "olmo2" else head_dim,)
        for name in ("post_attention", "pre_feedforward", "post_feedforward") if has_post_norms(c) else ():
            if has_pre_norms(c) or name != "pre_feedforward":
                yield f"model.layers.{i}.{name}_layernorm.weight", (d,)
        for name, shape in fused:
            yield f"model.layers.{i}.{name}.weight", shape
    yield "model.norm.weight", (d,)
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", (c["vocab_size"], d)


def weights(config):
    """Returns a map from names to arrays in f32."""
    made, gain = {}, 0 if adds_one(config) else 1
    for index, (name, shape) in enumerate(table(config)):
        u = numbers(index, math.prod(shape))
        cols = shape[1] if len(shape) == 2 else 1
        scale = 2.0 ** round(math.log2(2 / math.sqrt(cols)))
        made[name] = (gain + u / 8 if name.endswith("norm.weight") else u * scale).astype(np.float32).reshape(shape)
    return made
