"""Models whose weights are a formula: the twin of tests/lib/synthetic_model.c, which explains it."""
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
    """Uniform in [-1, 1), whole numbers of 2^-11."""
    return ((sequence(name, count) >> np.uint64(52)).astype(np.float64) - 2048) / 2048


def tokens(count, vocab):
    return (sequence(TOKENS, count) % np.uint64(vocab)).astype(np.int64)


def table(c):
    """Names and shapes in the order of lib/llama/tensors.h."""
    head_dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    d, f, q = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"] * head_dim
    kv = c.get("num_key_value_heads", c["num_attention_heads"]) * head_dim
    yield "model.embed_tokens.weight", (c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        for name, shape in (("input_layernorm", (d,)), ("self_attn.q_proj", (q, d)), ("self_attn.k_proj", (kv, d)),
                            ("self_attn.v_proj", (kv, d)), ("self_attn.o_proj", (d, q)),
                            ("post_attention_layernorm", (d,)), ("mlp.gate_proj", (f, d)), ("mlp.up_proj", (f, d)),
                            ("mlp.down_proj", (d, f))):
            yield f"model.layers.{i}.{name}.weight", shape
    yield "model.norm.weight", (d,)
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", (c["vocab_size"], d)


def weights(config):
    """Name to array in f32."""
    made = {}
    for index, (name, shape) in enumerate(table(config)):
        u = numbers(index, math.prod(shape))
        cols = shape[1] if len(shape) == 2 else 1
        scale = 2.0 ** round(math.log2(2 / math.sqrt(cols)))
        made[name] = (1 + u / 8 if len(shape) == 1 else u * scale).astype(np.float32).reshape(shape)
    return made
