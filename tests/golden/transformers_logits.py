#!/usr/bin/env python3
"""Computes logits of synthetic models (made.py) with transformers in f32, for tests/unit/test_transformers.c.

usage: transformers_logits.py OUT_DIR        (environment: see README.md)

The cases have heads of 64 and 128 dimensions, with and without grouped queries, each kind of
position scaling, and texts of 1 to 4096 tokens. OUT_DIR/cases.json is a list of {name, config,
tokens, rows}. OUT_DIR/logits.safetensors has the logits of those rows for each name. "rope" is the
position scaling that our config needs for the same result, because transformers expresses
NTK-aware scaling only as a larger theta.
"""
import json
import os
import sys

import made
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
BASE = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=48, num_hidden_layers=2,
            hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False)
SHAPES = {
    "mha64": dict(hidden_size=128, intermediate_size=192, num_attention_heads=2),
    "gqa64": dict(hidden_size=128, intermediate_size=192, num_attention_heads=4, num_key_value_heads=2, head_dim=64),
    "mha128": dict(hidden_size=256, intermediate_size=256, num_attention_heads=2),
    "gqa128": dict(hidden_size=128, intermediate_size=192, num_attention_heads=4, num_key_value_heads=1, head_dim=128),
}
# The rows include positions beyond each original context.
ROPES = {
    "none": dict(max_position_embeddings=4096),
    "linear": dict(max_position_embeddings=1024, rope_scaling={"type": "linear", "factor": 4.0}),
    "dynamic": dict(max_position_embeddings=256, rope_scaling={"type": "dynamic", "factor": 2.0}),
    "yarn": dict(max_position_embeddings=4096, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}),
    "yarn-mscale": dict(max_position_embeddings=4096, rope_scaling={
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512, "beta_fast": 24.0,
        "beta_slow": 2.0, "mscale": 0.8, "mscale_all_dim": 0.5, "truncate": False}),
    "llama3": dict(max_position_embeddings=4096, rope_theta=500000.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512}),
}
LONG = {("mha64", "none"), ("gqa64", "linear"), ("mha128", "dynamic"), ("gqa128", "yarn"), ("mha64", "yarn-mscale"),
        ("gqa128", "llama3"), ("gqa64", "dynamic"), ("mha128", "ntk")}
NTK = 2.0
cases, logits = [], {}
for shape_name, shape in SHAPES.items():
    head_dim = shape.get("head_dim", shape["hidden_size"] // shape["num_attention_heads"])
    ntk = dict(max_position_embeddings=8192, rope_theta=10000.0 * NTK ** (head_dim / (head_dim - 2)))
    for rope_name, rope in {**ROPES, "ntk": ntk}.items():
        config = {**BASE, **shape, **rope}
        state = {name: torch.from_numpy(array) for name, array in made.weights(config).items()}
        # Texts in the order of length, each with a new model, because dynamic position scaling remembers earlier texts.
        for tokens in (1, 9, 300) + ((4096,) if (shape_name, rope_name) in LONG else ()):
            model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager")).eval()
            missing = model.load_state_dict(state, strict=False)
            assert not missing.missing_keys and not missing.unexpected_keys, missing
            rows = sorted({0, tokens // 3, tokens // 2, tokens - 2 if tokens > 1 else 0, tokens - 1})
            with torch.no_grad():
                got = model(torch.from_numpy(made.tokens(tokens, config["vocab_size"]))[None]).logits[0, rows]
            assert torch.isfinite(got).all()
            name = f"{shape_name}-{rope_name}-{tokens}"
            logits[name] = got.contiguous().float()
            cases.append({"name": name, "config": config, "tokens": tokens, "rows": rows})
            if rope_name == "ntk":
                cases[-1]["rope"] = "ntk:2"
                cases[-1]["config"] = {**config, "rope_theta": 10000.0, "max_position_embeddings": 4096}
            print(name, float(got.abs().max()), float(got.std()))
json.dump(cases, open(f"{out}/cases.json", "w"), separators=(",", ":"))
save_file(logits, f"{out}/logits.safetensors", {"format": "pt"})
