#!/usr/bin/env python3
"""Computes the families beside LLaMA with transformers and PEFT in f32, for tests/unit/test_families.c.

usage: [ONLY=PREFIX] families.py OUT_DIR [PART...]        (environment: that of transformers_logits.py, see README.md)

Models are those of made.py. OUT_DIR/cases.json is a list of {name, config, tokens, rows}, and logits.safetensors has the
logits of those rows for each name. gradients.json is a list of {name, config, tokens}. gradients.safetensors has the loss
and the gradients of each: NAME/loss, NAME/full/TENSOR (of all weights), NAME/lora/TENSOR (of PEFT's matrices, whose values
are a formula), and NAME/merged/TENSOR, the result of merge_and_unload in bf16. generated.json is a list of {name, config,
prompt, ids}, where transformers generated the ids greedily, with a cache.
"""
import json
import os
import sys

import made
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
torch.set_num_threads(1)
BASE = dict(vocab_size=32, num_hidden_layers=3, hidden_act="silu", rms_norm_eps=1e-5, tie_word_embeddings=False,
            max_position_embeddings=4096, rope_theta=10000.0)
LLAMA = {**BASE, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}
QWEN2 = {**BASE, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "rope_theta": 1000000.0, "rms_norm_eps": 1e-6}
QWEN3 = {**QWEN2, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "attention_bias": False}
SMOLLM3 = {**BASE, "model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "rope_theta": 5000000.0,
           "tie_word_embeddings": True, "num_hidden_layers": 5, "attention_bias": False, "mlp_bias": False, "pad_token_id": None}
MISTRAL = {**BASE, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
MINISTRAL = {**MISTRAL, "model_type": "ministral", "architectures": ["MinistralForCausalLM"]}
# The factors of Granite 3.1 2B, with a divisor that is not a power of two.
GRANITE = {**BASE, "model_type": "granite", "architectures": ["GraniteForCausalLM"], "embedding_multiplier": 12.0,
           "attention_multiplier": 0.015625, "residual_multiplier": 0.22, "logits_scaling": 13.0, "attention_bias": False,
           "mlp_bias": False}
OLMO2 = {**BASE, "model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"], "rope_theta": 500000.0, "attention_bias": False,
         "pad_token_id": None}
GEMMA3 = {**BASE, "model_type": "gemma3_text",
          "architectures": ["Gemma3ForCausalLM"], "hidden_activation": "gelu_pytorch_tanh",
          "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 256,
          "sliding_window": 40, "sliding_window_pattern": 2, "attention_bias": False, "pad_token_id": None}
PHI3 = {**BASE, "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "pad_token_id": None,
        "original_max_position_embeddings": 4096}
# Head sizes 64 and 128, for which GPUs have tensor-core kernels, and other sizes.
GQA64 = dict(hidden_size=72, intermediate_size=88, num_attention_heads=3, num_key_value_heads=1, head_dim=64)
MHA64 = dict(hidden_size=128, intermediate_size=104, num_attention_heads=2, num_key_value_heads=2)
GQA128 = dict(hidden_size=72, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2, head_dim=128)
MHA96 = dict(hidden_size=192, intermediate_size=80, num_attention_heads=2, num_key_value_heads=2)
LONG128 = dict(hidden_size=512, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2)
LONG20 = dict(hidden_size=120, intermediate_size=56, num_attention_heads=6, num_key_value_heads=3)
GQA96 = dict(hidden_size=288, intermediate_size=80, num_attention_heads=3, num_key_value_heads=1)
ODD = dict(hidden_size=48, intermediate_size=56, num_attention_heads=6, num_key_value_heads=3, head_dim=20)
# Sizes that are not multiples of 8: heads of 100 columns (OpenLLaMA 3B), even and odd widths.
HEADS100 = dict(hidden_size=300, intermediate_size=172, num_attention_heads=3, num_key_value_heads=3, vocab_size=33)
ODDER = dict(hidden_size=39, intermediate_size=51, num_attention_heads=3, num_key_value_heads=1, head_dim=14, vocab_size=35)
LLAMA3 = dict(rope_theta=500000.0, rope_scaling={
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512})
YARN = dict(rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024})
LINEAR = dict(max_position_embeddings=1024, rope_scaling={"type": "linear", "factor": 4.0})
DYNAMIC = dict(max_position_embeddings=256, rope_scaling={"type": "dynamic", "factor": 2.0})
GQA256 = dict(hidden_size=72, intermediate_size=80, num_attention_heads=2, num_key_value_heads=1, head_dim=256)


def longrope(count, original, most, **more):
    """Returns factors like Phi-3's: they grow from 1 with the frequency's number, and faster for longer texts."""
    short, far = [round(1 + i / count, 3) for i in range(count)], [round(1.08 + 30 * (i / count) ** 2, 3) for i in range(count)]
    return dict(max_position_embeddings=most, original_max_position_embeddings=original,
                rope_scaling={"type": "longrope", "short_factor": short, "long_factor": far, **more})


SHORT, LONG = (1, 9, 300), (1, 9, 300, 4096)


def windows(window, **more):
    return dict(use_sliding_window=True, sliding_window=window, **more)


def without(config, *keys):
    return {k: v for k, v in config.items() if k not in keys}


MIXED = dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"])
LOGITS = {
    "llama31": ({**LLAMA, **GQA128, **LLAMA3}, LONG),
    "llama32-tied": ({**LLAMA, **GQA64, **LLAMA3, "tie_word_embeddings": True}, SHORT),
    "llama-biases": ({**LLAMA, **GQA64, "attention_bias": True, "mlp_bias": True}, SHORT),
    "smollm2": ({**LLAMA, **dict(hidden_size=72, num_attention_heads=9, num_key_value_heads=3), "intermediate_size": 192,
                 "tie_word_embeddings": True, "rope_theta": 100000.0}, SHORT),
    "qwen2": ({**QWEN2, **GQA64}, LONG),
    "qwen2-odd-tied": ({**QWEN2, **ODD, "tie_word_embeddings": True}, SHORT),
    "qwen2-yarn": ({**QWEN2, **GQA128, **YARN}, LONG),
    "qwen2-linear": ({**QWEN2, **MHA64, **LINEAR}, SHORT),
    "qwen2-dynamic": ({**QWEN2, **GQA64, **DYNAMIC}, SHORT),
    "qwen2-llama3": ({**QWEN2, **GQA64, **LLAMA3}, SHORT),
    "qwen2-window": ({**QWEN2, **GQA64, **windows(40, max_window_layers=1)}, LONG),
    "qwen2-window-off": ({**QWEN2, **ODD, "use_sliding_window": False, "sliding_window": 8, "max_window_layers": 0}, SHORT),
    "qwen2-layer-types": ({**QWEN2, **MHA64, **windows(17), **MIXED}, SHORT),
    "qwen3": ({**QWEN3, **GQA128}, LONG),
    "qwen3-64": ({**QWEN3, **GQA64, "tie_word_embeddings": True}, SHORT),
    "qwen3-odd": ({**QWEN3, **ODD, "attention_bias": True}, SHORT),
    "qwen3-yarn": ({**QWEN3, **GQA64, **YARN}, LONG),
    "qwen3-linear": ({**QWEN3, **GQA64, **LINEAR}, SHORT),
    "qwen3-dynamic": ({**QWEN3, **GQA128, **DYNAMIC}, SHORT),
    "qwen3-llama3": ({**QWEN3, **GQA64, **LLAMA3}, SHORT),
    "qwen3-window": ({**QWEN3, **GQA64, **windows(100, max_window_layers=2)}, SHORT),
    "smollm3": ({**SMOLLM3, **GQA128}, LONG),
    "smollm3-odd": ({**SMOLLM3, **ODD, "no_rope_layers": [1, 0, 0, 1, 1, 1], "tie_word_embeddings": False}, SHORT),
    "smollm3-interval": ({**SMOLLM3, **GQA64, "no_rope_layer_interval": 2, "no_rope_layers": None, **YARN}, SHORT),
    "smollm3-biases": ({**SMOLLM3, **ODD, "attention_bias": True, "mlp_bias": True}, SHORT),
    "smollm3-window": ({**SMOLLM3, **GQA64, **windows(24)}, SHORT),
    "smollm3-dynamic": ({**SMOLLM3, **GQA64, **DYNAMIC}, SHORT),
    "mistral-window": ({**MISTRAL, **GQA64, "sliding_window": 64}, LONG),
    "mistral-window-1": ({**MISTRAL, **ODD, "sliding_window": 1}, SHORT),
    "mistral-window-7": ({**MISTRAL, **GQA128, "sliding_window": 7}, LONG),
    "mistral-window-1000": ({**MISTRAL, **GQA128, "sliding_window": 1000}, (4096,)),
    "mistral-linear": ({**MISTRAL, **GQA64, **LINEAR, "sliding_window": 50}, SHORT),
    "mistral-no-window": ({**MISTRAL, **GQA64, "sliding_window": None}, SHORT),
    "mistral-layer-types": ({**MISTRAL, **GQA64, "sliding_window": 30, **MIXED}, SHORT),
    "ministral": ({**MINISTRAL, **GQA128, "sliding_window": 33, **MIXED}, LONG),
    "granite": ({**GRANITE, **GQA128}, LONG),
    "granite-64-tied": ({**GRANITE, **GQA64, "tie_word_embeddings": True, "logits_scaling": 8.0, "rope_theta": 5000000.0}, SHORT),
    "granite-odd-biases": ({**GRANITE, **ODD, "attention_bias": True, "mlp_bias": True}, SHORT),
    # An attention_multiplier of 1 makes scores so large that f32 itself is 1e-4 off with 300 tokens.
    "granite-ones": ({**GRANITE, **MHA64, "embedding_multiplier": 1.0, "attention_multiplier": 1, "residual_multiplier": 1.0,
                      "logits_scaling": 1.0}, (1, 9)),
    "granite-linear": ({**GRANITE, **GQA64, **LINEAR}, SHORT),
    "granite-dynamic": ({**GRANITE, **GQA64, **DYNAMIC}, SHORT),
    "granite-yarn": ({**GRANITE, **GQA64, **YARN}, SHORT),
    "granite-llama3": ({**GRANITE, **GQA64, **LLAMA3}, SHORT),
    "olmo2": ({**OLMO2, **GQA128}, LONG),
    "olmo2-64": ({**OLMO2, **MHA64, "tie_word_embeddings": True}, SHORT),
    "olmo2-odder-biases": ({**OLMO2, **ODDER, "attention_bias": True}, SHORT),
    "olmo2-linear": ({**OLMO2, **GQA64, **LINEAR}, SHORT),
    "olmo2-dynamic": ({**OLMO2, **GQA64, **DYNAMIC}, SHORT),
    "olmo2-yarn": ({**OLMO2, **GQA64, **YARN}, SHORT),
    "olmo2-llama3": ({**OLMO2, **GQA64, **LLAMA3}, SHORT),
    "llama-heads-100": ({**LLAMA, **HEADS100}, LONG),
    "llama-odder": ({**LLAMA, **ODDER, "attention_bias": True, "mlp_bias": True}, LONG),
    "mistral-odder": ({**MISTRAL, **ODDER, "sliding_window": 21, "tie_word_embeddings": True}, SHORT),
    "qwen2-odder": ({**QWEN2, **ODDER, **YARN}, SHORT),
    "qwen3-odder": ({**QWEN3, **ODDER, "tie_word_embeddings": True}, SHORT),
    "granite-odder": ({**GRANITE, **ODDER, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 22}, SHORT),
    "phi3-mini-4k": ({**PHI3, **GQA96, "sliding_window": 60}, LONG),
    "phi3-mini-128k": ({**PHI3, **MHA96, **longrope(48, 128, 4096)}, LONG),
    "phi3-medium": ({**PHI3, **LONG128, **longrope(64, 1024, 8192), "sliding_window": 2000}, LONG),
    "phi35-mini": ({**PHI3, **MHA64, **longrope(32, 300, 9600)}, (1, 300, 301)),
    "phi4": ({**PHI3, **GQA64, "rope_theta": 250000.0, "max_position_embeddings": 16384}, SHORT),
    "phi4-mini": ({**PHI3, **LONG128, **longrope(48, 200, 6400), "partial_rotary_factor": 0.75, "tie_word_embeddings": True}, LONG),
    "phi4-partial": ({**PHI3, **ODD, "partial_rotary_factor": 0.6}, SHORT),
    "phi3-attention-factor": ({**PHI3, **LONG20, **longrope(10, 100, 400, attention_factor=1.3, factor=2.0)}, SHORT),
    "phi3-linear": ({**PHI3, **MHA64, **longrope(32, 1024, 1024), "rope_scaling": {
        "type": "longrope", "short_factor": [3.0] * 32, "long_factor": [3.0] * 32}}, SHORT),
    "ministral-all": ({**MINISTRAL, **ODD, "sliding_window": 33, **YARN}, SHORT),
    "gemma3": ({**GEMMA3, **GQA256}, LONG),
    "gemma3-tied": ({**GEMMA3, **GQA256, "tie_word_embeddings": True}, SHORT),
    "gemma3-64": ({**GEMMA3, **GQA64, "query_pre_attn_scalar": 50}, SHORT),
    "gemma3-odd": ({**GEMMA3, **ODD, "attention_bias": True, "sliding_window": 7, **MIXED}, SHORT),
    "gemma3-silu": ({**GEMMA3, **GQA128, "hidden_activation": "silu", "sliding_window_pattern": 1}, SHORT),
    "gemma3-linear": ({**GEMMA3, **GQA128, "max_position_embeddings": 512,
                       "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, LONG),
    "gemma3-yarn": ({**GEMMA3, **GQA64, "rope_scaling": {**YARN["rope_scaling"], "rope_type": "yarn"}}, SHORT),
    "gemma3-dynamic": ({**GEMMA3, **GQA64, "max_position_embeddings": 256,
                        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, SHORT),
    "gemma3-llama3": ({**GEMMA3, **GQA64, **LLAMA3}, SHORT),
    "gemma3-parameters": ({**without(GEMMA3, "rope_theta", "rope_local_base_freq"), **GQA64, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 300.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 70.0}}}, SHORT),
}
TINY = dict(hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=6, vocab_size=24,
            num_hidden_layers=2)
TINY_ODD = dict(hidden_size=15, intermediate_size=19, num_attention_heads=3, num_key_value_heads=1, head_dim=10, vocab_size=23,
                num_hidden_layers=2)
GRADIENTS = {
    "llama-biases": {**LLAMA, **TINY, "attention_bias": True, "mlp_bias": True},
    "qwen2": {**QWEN2, **TINY, "tie_word_embeddings": True, **windows(8, max_window_layers=1)},
    "qwen3": {**QWEN3, **TINY, "attention_bias": True, **YARN},
    "smollm3": {**SMOLLM3, **TINY, "tie_word_embeddings": False, "no_rope_layers": [0, 1], **windows(10)},
    "mistral": {**MISTRAL, **TINY, "sliding_window": 7},
    "llama-odder": {**LLAMA, **TINY_ODD, "attention_bias": True, "mlp_bias": True},
    "qwen3-odder": {**QWEN3, **TINY_ODD, "tie_word_embeddings": True},
    "granite": {**GRANITE, **TINY, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    "olmo2": {**OLMO2, **TINY, "head_dim": 8, "attention_bias": True},
    "gemma3": {**GEMMA3, **TINY, "tie_word_embeddings": True, "sliding_window": 7,
               "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "gemma3-untied": {**GEMMA3, **TINY, "attention_bias": True, "query_pre_attn_scalar": 10},
    "phi3": {**PHI3, **TINY, "hidden_size": 24, "head_dim": 6, "sliding_window": 9, **longrope(3, 32, 64)},
    "phi4-mini": {**PHI3, **TINY, "hidden_size": 32, "head_dim": 8, "partial_rotary_factor": 0.75, "tie_word_embeddings": True,
                  **longrope(3, 64, 256)},
}
GENERATED = {
    "llama-heads-100": {**LLAMA, **HEADS100},
    "llama-odder": {**LLAMA, **ODDER, "mlp_bias": True},
    "llama31": {**LLAMA, **GQA64, **LLAMA3},
    "qwen2": {**QWEN2, **GQA64, "tie_word_embeddings": True},
    "qwen3": {**QWEN3, **GQA128},
    "smollm3": {**SMOLLM3, **GQA64},
    "qwen2-window": {**QWEN2, **GQA64, **windows(40, max_window_layers=1)},
    "mistral": {**MISTRAL, **GQA64, "sliding_window": 50},
    "granite": {**GRANITE, **GQA64, "tie_word_embeddings": True},
    "olmo2": {**OLMO2, **GQA64},
    "phi3": {**PHI3, **GQA96, "sliding_window": 60},
    "phi3-crossing": {**PHI3, **MHA64, **longrope(32, 100, 4096)},
    "phi4-mini": {**PHI3, **GQA96, **longrope(36, 64, 256), "partial_rotary_factor": 0.75, "tie_word_embeddings": True},
    "ministral": {**MINISTRAL, **GQA128, "sliding_window": 33, **MIXED},
    "gemma3": {**GEMMA3, **GQA256},
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"]
RANK, ALPHA, TOKENS = 2, 3, 40
out = sys.argv[1]
os.makedirs(out, exist_ok=True)


def model_of(config, dtype=torch.float32):
    """Returns made.py's model, loaded by AutoModel with this config.json. Every tensor is used, and none is missing."""
    place = f"{out}/config.json"
    with open(place, "w") as file:
        json.dump(config, file)
    read = AutoConfig.from_pretrained(place)
    os.remove(place)
    model = AutoModelForCausalLM.from_config(read, attn_implementation="eager").to(dtype).eval()
    state = {n: torch.from_numpy(a).to(dtype) for n, a in made.weights(config).items()}
    if config.get("tie_word_embeddings"):
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    return model


def rows_of(tokens):
    return sorted({0, tokens // 3, tokens // 2, max(tokens - 2, 0), tokens - 1})


def logits():
    cases, tensors = [], {}
    for kind, (config, lengths) in LOGITS.items():
        for tokens in lengths:
            name, rows = f"{kind}-{tokens}", rows_of(tokens)
            ids = torch.from_numpy(made.tokens(tokens, config["vocab_size"]))[None]
            with torch.no_grad():
                got = model_of(config)(ids).logits[0, rows]
            assert torch.isfinite(got).all()
            tensors[name] = got.contiguous().float()
            cases.append({"name": name, "config": config, "tokens": tokens, "rows": rows})
            print(name, float(got.abs().max()), float(got.std()), flush=True)
    json.dump(cases, open(f"{out}/cases.json", "w"), separators=(",", ":"))
    save_file(tensors, f"{out}/logits.safetensors", {"format": "pt"})


def adapted(model, config):
    """Returns the model with PEFT's matrices for every linear layer. tests/unit/test_families.c makes the same values."""
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM"))
    parameters, at = dict(model.named_parameters()), 5000
    for name, shape in made.table(config):
        module = name.removesuffix(".weight")
        if module.split(".")[-1] not in TARGETS or not name.endswith(".weight"):
            continue
        for side in "AB":
            p = parameters[f"base_model.model.{module}.lora_{side}.default.weight"]
            p.data = torch.from_numpy(made.numbers(at, p.numel()) / 4).to(p.dtype).reshape(p.shape)
            at += 1
    return model


def loss_of(model, ids):
    got = model(ids).logits[0]
    return torch.nn.functional.cross_entropy(got[:-1].float(), ids[0, 1:])


def gradients():
    cases, tensors = [], {}
    for kind, config in GRADIENTS.items():
        ids = torch.from_numpy(made.tokens(TOKENS, config["vocab_size"]))[None]
        model = model_of(config)
        loss = loss_of(model, ids)
        loss.backward()
        tensors[f"{kind}/loss"] = loss.detach().reshape(1)
        for name, p in model.named_parameters():
            tensors[f"{kind}/full/{name}"] = p.grad.clone().contiguous()
        model = adapted(model_of(config), config)
        loss = loss_of(model, ids)
        loss.backward()
        tensors[f"{kind}/lora-loss"] = loss.detach().reshape(1)
        for name, p in model.named_parameters():
            if p.requires_grad:
                tensors[f"{kind}/lora/{name.replace('.default', '')}"] = p.grad.clone().contiguous()
        merged = adapted(model_of(config, torch.bfloat16), config).merge_and_unload()
        kept = {n for n, _ in made.table(config)}
        for name, value in merged.state_dict().items():
            if name in kept:
                tensors[f"{kind}/merged/{name}"] = value.clone().contiguous()
        cases.append({"name": kind, "config": config, "tokens": TOKENS})
        print(kind, float(loss), flush=True)
    json.dump(cases, open(f"{out}/gradients.json", "w"), separators=(",", ":"))
    save_file(tensors, f"{out}/gradients.safetensors", {"format": "pt"})


def greedy(model, prompt):
    """Returns 256 ids, and the smallest distance of the two largest logits, relative to the largest."""
    # The mask is given, because generate would treat the padding token's id in a prompt as padding.
    ids = torch.tensor([prompt])
    got = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=256, do_sample=False, use_cache=True,
                         return_dict_in_generate=True, output_logits=True, eos_token_id=-1, pad_token_id=0)
    best = torch.stack(got.logits)[:, 0].topk(2).values
    return got.sequences[0, len(prompt):].tolist(), float(((best[:, 0] - best[:, 1]) / best[:, 0].abs()).min())


def generated():
    cases = []
    for kind, config in GENERATED.items():
        model = model_of(config)
        # The first prompt whose continuation does not repeat a few tokens, and where rounding cannot change a token.
        for length in range(11, 30):
            prompt = made.tokens(length, config["vocab_size"]).tolist()
            ids, margin = greedy(model, prompt)
            if margin > 1e-4 and len(set(ids)) > 4:
                break
        print(kind, "prompt", length, "distinct", len(set(ids)), "margin", margin, flush=True)
        assert len(ids) == 256 and margin > 1e-4
        cases.append({"name": kind, "config": config, "prompt": prompt, "ids": ids})
    json.dump(cases, open(f"{out}/generated.json", "w"), separators=(",", ":"))


PARTS = {"logits": ("cases", "logits", LOGITS), "gradients": ("gradients", "gradients", GRADIENTS),
         "generated": ("generated", None, GENERATED)}


def compute(part, prefix):
    """Computes a part for the names that begin with prefix, and keeps the old results of the others in OUT_DIR."""
    listed, stored, kinds = PARTS[part]
    place = f"{out}/{listed}.json"
    cases = json.load(open(place)) if prefix else []
    tensors = load_file(f"{out}/{stored}.safetensors") if prefix and stored else {}
    order = {f"{kind}{tokens}": i for i, kind in enumerate(kinds) for tokens in ("", *(f"-{n}" for n in range(4097)))}
    for kind in [k for k in kinds if not k.startswith(prefix)]:
        del kinds[kind]
    globals()[part]()
    cases = [c for c in cases if not c["name"].startswith(prefix)] + json.load(open(place))
    json.dump(sorted(cases, key=lambda c: order[c["name"]]), open(place, "w"), separators=(",", ":"))
    if stored:
        kept = {n: t for n, t in tensors.items() if not n.startswith(prefix)}
        save_file(kept | load_file(f"{out}/{stored}.safetensors"), f"{out}/{stored}.safetensors", {"format": "pt"})


for part in sys.argv[2:] or PARTS:
    compute(part, os.environ.get("ONLY", ""))
