#!/usr/bin/env python3
"""Makes many kinds of config.json, and the logits that transformers computes with each that it loads.

usage: odd_configs.py OUT_DIR                the cases of tests/unit/test_config.c
       odd_configs.py OUT_DIR COUNT SEED     COUNT random cases; then run CONFIGS=OUT_DIR build/release/tests/unit/test_config

Environment: that of transformers_logits.py, see README.md. Each case is a config.json: an entry of CHOSEN, or a random one.
AutoModelForCausalLM loads or refuses a temporary directory with this config and weights of made.py, in the sizes that
transformers reads from the config. (A config without model_type gets "llama" there.)
OUT_DIR/cases.json is a list of {name, text, tokens, rows, is_loaded, error, values}. `text` is the config.json, and `values` are
the sizes that transformers reads. OUT_DIR/logits.safetensors has the logits of the case's rows.
"""
import json
import os
import random
import sys
import tempfile

import made
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
SMALL = dict(model_type="llama", vocab_size=24, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
             num_attention_heads=4, max_position_embeddings=64)
MISTRAL = {**SMALL, "model_type": "mistral", "num_key_value_heads": 2}
MINISTRAL = {**MISTRAL, "model_type": "ministral", "head_dim": 8, "sliding_window": 16}
QWEN2 = {**MISTRAL, "model_type": "qwen2"}
QWEN3 = {**MISTRAL, "model_type": "qwen3", "head_dim": 16}
SMOLLM3 = {**MISTRAL, "model_type": "smollm3", "pad_token_id": None}
GRANITE = {**SMALL, "model_type": "granite", "num_key_value_heads": 2, "embedding_multiplier": 12.0, "logits_scaling": 6.0,
           "attention_multiplier": 0.25, "residual_multiplier": 0.22}
OLMO2 = {**SMALL, "model_type": "olmo2", "num_key_value_heads": 2, "pad_token_id": None}
GEMMA3 = {**SMALL, "model_type": "gemma3_text", "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16,
          "query_pre_attn_scalar": 8, "sliding_window_pattern": 2, "tie_word_embeddings": False}
PHI3 = {**SMALL, "model_type": "phi3", "num_key_value_heads": 2, "pad_token_id": None}
LONGROPE = dict(short_factor=[1.0, 1.25, 1.5, 2], long_factor=[1.0, 2.5, 6.0, 16.0])
MIXED = ["sliding_attention", "full_attention"]


def without(config, *keys):
    return {k: v for k, v in config.items() if k not in keys}


def rope(**scaling):
    return {**SMALL, "rope_scaling": scaling}


def new(**parameters):
    return {**SMALL, "rope_parameters": parameters}


def phi3(original, **scaling):
    return {**PHI3, "original_max_position_embeddings": original, "rope_scaling": {"type": "longrope", **scaling}}


YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
CHOSEN = {
    "plain": SMALL,
    "no-type": without(SMALL, "model_type"),
    "kv-null": {**SMALL, "num_key_value_heads": None},
    "mistral-kv-8": {**without(MISTRAL, "num_key_value_heads"), "num_attention_heads": 8, "hidden_size": 64},
    "head-dim-null": {**SMALL, "head_dim": None},
    "head-dim-16": {**SMALL, "head_dim": 16, "num_key_value_heads": 1},
    "not-a-multiple": {**SMALL, "num_attention_heads": 6, "hidden_size": 40},
    "mistral-rounds-down": {**MISTRAL, "num_attention_heads": 16, "hidden_size": 72, "head_dim": None},
    "swish": {**SMALL, "hidden_act": "swish"},
    "act-is-a-number": {**SMALL, "hidden_act": 5},
    "act-null": {**SMALL, "hidden_act": None},
    "tied": {**SMALL, "tie_word_embeddings": True},
    "vocab-null": {**SMALL, "vocab_size": None},
    "layers-real": {**SMALL, "num_hidden_layers": 2.0},
    "theta-int": {**SMALL, "rope_theta": 500},
    "theta-null": {**SMALL, "rope_theta": None},
    "scaling-null": {**SMALL, "rope_scaling": None, "rope_theta": 300.0},
    "scaling-empty": {**SMALL, "rope_scaling": {}},
    "linear-type": rope(type="linear", factor=2.0),
    "linear-rope-type": rope(rope_type="linear", factor=3),
    "linear-3-long": rope(type="linear", factor=3.0),
    "linear-2.5": rope(type="linear", rope_type="linear", factor=2.5),
    "linear-without-factor": rope(type="linear"),
    "linear-factor-null": rope(type="linear", factor=None),
    "dynamic-without-factor": rope(type="dynamic"),
    "dynamic": {**rope(type="dynamic", factor=3.0), "max_position_embeddings": 32},
    "parameters": new(rope_type="default", rope_theta=200.0),
    "parameters-theta-alone": new(rope_theta=200.0),
    "parameters-empty": new(),
    "parameters-theta-outside": {**new(rope_type="linear", factor=3.0), "rope_theta": 700.0},
    "parameters-theta-twice": {**new(rope_type="linear", factor=3.0, rope_theta=70.0), "rope_theta": 700.0},
    "parameters-theta-null": new(rope_type="linear", factor=2.0, rope_theta=None),
    "yarn": rope(**YARN),
    "yarn-factor-null": rope(**{**YARN, "factor": None}),
    "yarn-without-factor": rope(**without(YARN, "factor")),
    "yarn-without-original": rope(rope_type="yarn", factor=3.0),
    "yarn-original-outside": {**rope(rope_type="yarn", factor=4.0), "original_max_position_embeddings": 16},
    "yarn-nulls": rope(**YARN, beta_fast=None, beta_slow=0, attention_factor=None, mscale=None, truncate=None),
    "yarn-mscale": rope(**YARN, mscale=0.8, mscale_all_dim=0.5, beta_fast=8, beta_slow=2, truncate=False),
    "yarn-attention": rope(**YARN, attention_factor=1.25, finetuned=True),
    "llama3": {**rope(**LLAMA3), "rope_theta": 500000.0},
    "llama3-without-factor": rope(**without(LLAMA3, "factor")),
    "llama3-without-low": rope(**without(LLAMA3, "low_freq_factor")),
    "longrope": rope(rope_type="longrope", factor=2.0, short_factor=[1.0] * 4, long_factor=[2.0] * 4),
    "proportional": new(rope_type="proportional", rope_theta=300.0, partial_rotary_factor=0.5),
    "rotary-1": {**SMALL, "partial_rotary_factor": 1.0},
    "window-null": {**MISTRAL, "sliding_window": None},
    "window-64": {**MISTRAL, "sliding_window": 64},
    "window-absent": MISTRAL,
    "llama-window": {**SMALL, "sliding_window": 40},
    "all-full": {**MISTRAL, "head_dim": 8, "sliding_window": None, "layer_types": ["full_attention"] * 2},
    "all-sliding": {**MISTRAL, "head_dim": 8, "sliding_window": 64, "layer_types": ["sliding_attention"] * 2},
    "mixed-layers": {**MISTRAL, "head_dim": 8, "sliding_window": 16, "layer_types": ["full_attention", "sliding_attention"]},
    "biases": {**SMALL, "attention_bias": True},
    "mlp-biases": {**SMALL, "mlp_bias": True, "attention_bias": None},
    "mistral-biases": {**MISTRAL, "attention_bias": True},
    "qwen2": QWEN2,
    "qwen2-kv-absent": {**without(QWEN2, "num_key_value_heads"), "num_attention_heads": 32, "hidden_size": 64},
    "qwen2-head-dim": {**QWEN2, "head_dim": 12},
    "qwen2-head-dim-null": {**QWEN2, "head_dim": None},
    "qwen2-kv-null": {**QWEN2, "num_key_value_heads": None},
    "qwen2-attention-bias": {**QWEN2, "attention_bias": False},
    "qwen2-window": {**QWEN2, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    "qwen2-window-of-no-layer": {**QWEN2, "use_sliding_window": True, "sliding_window": 16},
    "qwen2-window-off": {**QWEN2, "use_sliding_window": False, "sliding_window": 16, "max_window_layers": 0},
    "qwen2-window-null": {**QWEN2, "use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
    "qwen2-layer-types": {**QWEN2, "use_sliding_window": True, "sliding_window": 7, "layer_types": MIXED},
    "qwen2-layer-types-off": {**QWEN2, "sliding_window": 7, "layer_types": MIXED},
    "qwen2-linear-attention": {**QWEN2, "layer_types": ["linear_attention", "full_attention"]},
    "qwen2-yarn": {**QWEN2, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
    "qwen3": QWEN3,
    "qwen3-head-dim-absent": {**without(QWEN3, "head_dim")},
    "qwen3-head-dim-null": {**QWEN3, "head_dim": None},
    "qwen3-biases": {**QWEN3, "attention_bias": True},
    "qwen3-window": {**QWEN3, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    "smollm3": {**SMOLLM3, "num_hidden_layers": 5},
    "smollm3-untied": {**SMOLLM3, "tie_word_embeddings": False},
    "smollm3-theta": {**SMOLLM3, "rope_theta": 300.0},
    "smollm3-parameters": {**SMOLLM3, "rope_parameters": {"rope_type": "default"}},
    "smollm3-list": {**SMOLLM3, "no_rope_layers": [0, 1]},
    "smollm3-list-longer": {**SMOLLM3, "no_rope_layers": [0, 2, 0]},
    "smollm3-list-shorter": {**SMOLLM3, "no_rope_layers": [0]},
    "smollm3-interval": {**SMOLLM3, "no_rope_layer_interval": 2},
    "smollm3-interval-0": {**SMOLLM3, "no_rope_layer_interval": 0},
    "smollm3-biases": {**SMOLLM3, "attention_bias": True, "mlp_bias": True},
    "smollm3-window": {**SMOLLM3, "use_sliding_window": True, "sliding_window": 9, "no_rope_layer_interval": 2},
    "smollm3-window-unused": {**SMOLLM3, "sliding_window": 9, "no_rope_layer_interval": 2},
    "smollm3-layer-types": {**SMOLLM3, "use_sliding_window": True, "sliding_window": 9, "layer_types": MIXED},
    "smollm3-which": {**SMOLLM3, "sliding_window": 9, "layer_types": MIXED},
    "ministral": MINISTRAL,
    "ministral-mixed": {**MINISTRAL, "layer_types": MIXED},
    "ministral-window-null": {**MINISTRAL, "sliding_window": None},
    "ministral-window-absent": without(MINISTRAL, "sliding_window"),
    "ministral-head-dim-absent": without(MINISTRAL, "head_dim"),
    "ministral-kv-null": {**MINISTRAL, "num_key_value_heads": None},
    "gemma3": GEMMA3,
    "gemma3-absent": without(GEMMA3, "head_dim", "sliding_window", "query_pre_attn_scalar", "sliding_window_pattern"),
    "gemma3-tied": without(GEMMA3, "tie_word_embeddings"),
    "gemma3-tied-null": {**GEMMA3, "tie_word_embeddings": None},
    "gemma3-kv-absent": {**without(GEMMA3, "num_key_value_heads"), "num_attention_heads": 8},
    "gemma3-kv-null": {**GEMMA3, "num_key_value_heads": None},
    "gemma3-head-dim-null": {**GEMMA3, "head_dim": None},
    "gemma3-not-a-multiple": {**GEMMA3, "num_attention_heads": 6},
    "gemma3-scalar-real": {**GEMMA3, "query_pre_attn_scalar": 8.0},
    "gemma3-scalar-0": {**GEMMA3, "query_pre_attn_scalar": 0},
    "gemma3-scalar-null": {**GEMMA3, "query_pre_attn_scalar": None},
    "gemma3-silu": {**GEMMA3, "hidden_activation": "silu"},
    "gemma3-gelu": {**GEMMA3, "hidden_activation": "gelu"},
    "gemma3-activation-null": {**GEMMA3, "hidden_activation": None},
    "gemma3-hidden-act": {**GEMMA3, "hidden_act": "relu"},
    "gemma3-window-null": {**GEMMA3, "sliding_window": None},
    "gemma3-window-null-all-full": {**GEMMA3, "sliding_window": None, "layer_types": ["full_attention"] * 2},
    "gemma3-layer-types": {**GEMMA3, "layer_types": ["full_attention", "sliding_attention"]},
    "gemma3-layer-types-null": {**GEMMA3, "layer_types": None},
    "gemma3-pattern-1": {**GEMMA3, "sliding_window_pattern": 1},
    "gemma3-pattern-0": {**GEMMA3, "sliding_window_pattern": 0},
    "gemma3-pattern-null": {**GEMMA3, "sliding_window_pattern": None},
    "gemma3-pattern-written": {**without(GEMMA3, "sliding_window_pattern"), "_sliding_window_pattern": 2},
    "gemma3-thetas": {**GEMMA3, "rope_theta": 500, "rope_local_base_freq": 50.0},
    "gemma3-theta-null": {**GEMMA3, "rope_theta": None},
    "gemma3-local-null": {**GEMMA3, "rope_local_base_freq": None},
    "gemma3-scaling-null": {**GEMMA3, "rope_scaling": None},
    "gemma3-linear": {**GEMMA3, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "gemma3-linear-type": {**GEMMA3, "rope_scaling": {"type": "linear", "factor": 8.0}},
    "gemma3-linear-both": {**GEMMA3, "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 8.0}},
    "gemma3-yarn": {**GEMMA3, "rope_scaling": YARN},
    "gemma3-yarn-outside": {**GEMMA3, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 16},
    "gemma3-llama3": {**GEMMA3, "rope_scaling": LLAMA3},
    "gemma3-parameters": {**GEMMA3, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 90.0}, "sliding_attention": {"rope_theta": 60.0}}},
    "gemma3-parameters-type": {**GEMMA3, "rope_parameters": {"full_attention": {"type": "linear", "factor": 4.0}}},
    "gemma3-parameters-outside": {**GEMMA3, "rope_theta": 30.0, "rope_local_base_freq": 40.0, "rope_parameters": {
        "full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}},
    "gemma3-parameters-null": {**GEMMA3, "rope_theta": 30.0, "rope_parameters": {"full_attention": None, "sliding_attention": None}},
    "gemma3-parameters-flat": {**GEMMA3, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 30.0}},
    "gemma3-local-linear": {**GEMMA3, "rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
    "gemma3-softcaps-null": {**GEMMA3, "final_logit_softcapping": None, "attn_logit_softcapping": None},
    "gemma3-final-softcap": {**GEMMA3, "final_logit_softcapping": 30.0},
    "gemma3-attn-softcap": {**GEMMA3, "attn_logit_softcapping": 50.0},
    "gemma3-bidirectional": {**GEMMA3, "use_bidirectional_attention": True},
    "gemma3-bidirectional-null": {**GEMMA3, "use_bidirectional_attention": None},
    "gemma3-biases": {**GEMMA3, "attention_bias": True},
    "gemma3-dropout-null": {**GEMMA3, "attention_dropout": None},
    "llama-gelu": {**SMALL, "hidden_act": "gelu_pytorch_tanh"},
    "phi3": PHI3,
    "phi3-kv-absent": without(PHI3, "num_key_value_heads"),
    "phi3-head-dim-16": {**PHI3, "head_dim": 16},
    "phi3-head-dim-null": {**PHI3, "head_dim": None},
    "phi3-window": {**PHI3, "sliding_window": 13, "rms_norm_eps": 1e-3},
    "phi3-window-0": {**PHI3, "sliding_window": 0},
    "phi3-layer-types": {**PHI3, "sliding_window": 13, "layer_types": MIXED},
    "phi3-longrope": phi3(16, **LONGROPE),
    "phi3-longrope-of-60": phi3(60, **LONGROPE),
    "phi3-longrope-of-59": phi3(59, **LONGROPE),
    "phi3-original-absent": without(phi3(16, **LONGROPE), "original_max_position_embeddings"),
    "phi3-original-inside": {**without(phi3(16, **LONGROPE, original_max_position_embeddings=16), "original_max_position_embeddings")},
    "phi3-original-twice": phi3(16, **LONGROPE, original_max_position_embeddings=16),
    "phi3-original-differs": phi3(16, **LONGROPE, original_max_position_embeddings=32),
    "phi3-original-null": phi3(None, **LONGROPE),
    "phi3-original-null-unscaled": {**PHI3, "original_max_position_embeddings": None},
    "phi3-original-1": phi3(1, **LONGROPE),
    "phi3-su": {**phi3(16, **LONGROPE), "rope_scaling": {**LONGROPE, "type": "su"}},
    "phi3-su-inside": {**phi3(16), "rope_scaling": {**LONGROPE, "type": "su", "original_max_position_embeddings": 16}},
    "phi3-yarn": {**phi3(16), "rope_scaling": {**LONGROPE, "type": "yarn"}},
    "phi3-linear": {**PHI3, "rope_scaling": {"type": "linear", "factor": 2.0}},
    "phi3-llama3": {**PHI3, "rope_scaling": LLAMA3},
    "phi3-factor": phi3(16, **LONGROPE, factor=9.0),
    "phi3-factor-half": phi3(16, **LONGROPE, factor=0.5),
    "phi3-factor-null": phi3(16, **LONGROPE, factor=None, attention_factor=None),
    "phi3-attention-factor": phi3(16, **LONGROPE, attention_factor=1.5),
    "phi3-same-factors": phi3(64, short_factor=[3, 3, 3, 3], long_factor=[3.0] * 4),
    "phi3-three-factors": phi3(16, short_factor=[1.0] * 3, long_factor=[1.0] * 3),
    "phi3-no-long-factors": phi3(16, short_factor=[1.0] * 4),
    "phi3-longrope-head-dim": {**phi3(16, **LONGROPE), "head_dim": 16},
    "phi3-rotary": {**PHI3, "partial_rotary_factor": 0.5},
    "phi3-rotary-int": {**PHI3, "partial_rotary_factor": 1},
    "phi3-rotary-null": {**PHI3, "partial_rotary_factor": None},
    "phi3-rotary-odd": {**PHI3, "partial_rotary_factor": 0.7},
    "phi3-rotary-inside": {**PHI3, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.75}},
    "phi3-rotary-twice": {**PHI3, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75},
                          "partial_rotary_factor": 0.5},
    "phi3-rotary-longrope": {**phi3(16, short_factor=[1, 2, 3.0], long_factor=[2, 3, 4.0]), "partial_rotary_factor": 0.75},
    "phi3-tied": {**PHI3, "tie_word_embeddings": True, "rope_theta": 500.0},
    "phi3-dropouts": {**PHI3, "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attention_dropout": 0},
    "phi3-resid-null": {**PHI3, "resid_pdrop": None},
    "phi3-biases": {**PHI3, "attention_bias": False, "mlp_bias": False, "lm_head_bias": False, "full_attn_mod": 1},
    "both-ways": {**SMALL, "is_causal": False},
    "granite-keys": {**SMALL, "embedding_multiplier": 12.0},
    "granite": GRANITE,
    "granite-absent": without(GRANITE, "embedding_multiplier", "logits_scaling", "attention_multiplier", "residual_multiplier"),
    "granite-whole": {**GRANITE, "embedding_multiplier": 3, "logits_scaling": 8, "attention_multiplier": 1, "residual_multiplier": 1},
    "granite-embedding-null": {**GRANITE, "embedding_multiplier": None},
    "granite-logits-null": {**GRANITE, "logits_scaling": None},
    "granite-attention-null": {**GRANITE, "attention_multiplier": None},
    "granite-residual-null": {**GRANITE, "residual_multiplier": None},
    "granite-text": {**GRANITE, "logits_scaling": "8"},
    "granite-logits-0": {**GRANITE, "logits_scaling": 0.0},
    "granite-head-dim": {**GRANITE, "head_dim": 12},
    "granite-head-dim-null": {**GRANITE, "head_dim": None},
    "granite-not-a-multiple": {**GRANITE, "num_attention_heads": 6, "hidden_size": 40},
    "granite-kv-absent": without(GRANITE, "num_key_value_heads"),
    "granite-kv-null": {**GRANITE, "num_key_value_heads": None},
    "granite-biases": {**GRANITE, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "granite-window": {**GRANITE, "sliding_window": 16},
    "granite-eps": {**without(GRANITE, "rms_norm_eps"), "hidden_act": "silu"},
    "olmo2": OLMO2,
    "olmo2-eps": {**OLMO2, "rms_norm_eps": 1e-2},
    "olmo2-eps-null": {**OLMO2, "rms_norm_eps": None},
    "olmo2-head-dim": {**OLMO2, "head_dim": 12},
    "olmo2-head-dim-null": {**OLMO2, "head_dim": None},
    "olmo2-not-a-multiple": {**OLMO2, "num_attention_heads": 6, "hidden_size": 40},
    "olmo2-kv-absent": without(OLMO2, "num_key_value_heads"),
    "olmo2-kv-null": {**OLMO2, "num_key_value_heads": None},
    "olmo2-biases": {**OLMO2, "attention_bias": True, "tie_word_embeddings": True},
    "olmo2-bias-null": {**OLMO2, "attention_bias": None},
    "olmo2-mlp-bias": {**OLMO2, "mlp_bias": True},
    "olmo2-tied-null": {**OLMO2, "tie_word_embeddings": None},
    "olmo2-window": {**OLMO2, "sliding_window": 16},
    "olmo2-window-64": {**OLMO2, "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0},
    "olmo2-all-full": {**OLMO2, "layer_types": ["full_attention"] * 2},
    "olmo2-mixed": {**OLMO2, "sliding_window": 16, "layer_types": MIXED},
    "olmo2-clip": {**OLMO2, "clip_qkv": 0.1},
    "olmo2-dropout": {**OLMO2, "attention_dropout": 0},
    "olmo2-swish": {**OLMO2, "hidden_act": "swish"},
    "sequence-class": {**SMALL, "architectures": ["LlamaForSequenceClassification"]},
    "eps-null": {**SMALL, "rms_norm_eps": None},
    "a-note": {**SMALL, "my_own_note": "x", "pretraining_tp": 2, "attn_implementation": "eager", "attention_dropout": 0.1},
}


def at_random(rng):
    """Returns a random config: a base of one model type, and keys of this and of other types. Every program refuses some of these configs."""
    c = dict(rng.choice((SMALL, MISTRAL, MINISTRAL, QWEN2, QWEN3, SMOLLM3, GRANITE, OLMO2, PHI3, PHI3)))
    heads = rng.choice((2, 3, 4, 6, 8))
    c["num_attention_heads"] = heads
    c["hidden_size"] = heads * 8 if rng.random() < 0.85 else rng.choice((24, 32, 48, 64))
    c["num_key_value_heads"] = rng.choice([None, heads] + [k for k in range(1, heads) if heads % k == 0])
    if rng.random() < 0.2:
        del c["num_key_value_heads"]
    if rng.random() < 0.6:
        c["head_dim"] = rng.choice((None, 8, 16, 4))
    if rng.random() < 0.2:
        c["tie_word_embeddings"] = rng.choice((True, False))
    for key, values in {"rms_norm_eps": (1e-5, 1e-6, 1e-3), "hidden_act": ("silu", "swish", "silu", "gelu", 7),
                        "max_position_embeddings": (16, 32, 128), "sliding_window": (None, 16, 64, 4096),
                        "layer_types": (["full_attention"] * 2, ["sliding_attention"] * 2, MIXED, None),
                        "attention_bias": (False, None), "mlp_bias": (False,), "attention_dropout": (0.0, 0.1),
                        "partial_rotary_factor": (1.0, 0.5), "original_max_position_embeddings": (16, 32),
                        "pretraining_tp": (1, 2), "torch_dtype": ("float16", "float32"), "dtype": ("float32",),
                        "architectures": (["LlamaForCausalLM"], None, ["MistralForCausalLM"]), "use_cache": (False, True),
                        "eos_token_id": (2, [2, 3], None), "temperature": (0.5,), "some_note": (1, "x", None),
                        "num_experts": (0, None), "use_sliding_window": (False, True), "max_window_layers": (0, 1, 2, 28),
                        "no_rope_layers": ([0, 1], [1, 1], [1, 0, 1], None), "no_rope_layer_interval": (1, 2, 4),
                        "embedding_multiplier": (2, 0.5, 1.0), "logits_scaling": (4, 3.0, 1)}.items():
        if rng.random() < 0.18:
            c[key] = rng.choice(values)
    theta = rng.choice((None, 100, 10000.0, 5e5))
    kind = rng.choice(("default", "linear", "dynamic", "yarn", "llama3") * 3 + (None, "longrope"))
    scaling = {}
    if kind:
        scaling[rng.choice(("type", "rope_type", "rope_type"))] = kind
    if rng.random() < 0.92 and kind not in ("default", None):
        scaling["factor"] = rng.choice((1.0, 1.5, 2, 3, 4.0, 12.0, 3.0, 8, None))
    for key, values, chance in (("original_max_position_embeddings", (16, 32, 64), 0.5), ("low_freq_factor", (1.0, 2), 0.9),
                                ("high_freq_factor", (4.0, 8), 0.9)) if kind in ("llama3", "yarn", "linear") else ():
        if rng.random() < chance:
            scaling[key] = rng.choice(values)
    for key, values in {"beta_fast": (8, 16.0, None, 0), "beta_slow": (1, 2, None), "attention_factor": (1.1, None),
                        "mscale": (0.7, None, 1), "mscale_all_dim": (0.5, 0), "truncate": (True, False, None)}.items():
        if kind == "yarn" and rng.random() < 0.3:
            scaling[key] = rng.choice(values)
    if kind == "longrope" and c["model_type"] == "phi3":
        count = c["hidden_size"] // heads // 2
        scaling |= {"short_factor": [1.0, 1.5, 2, 3, 4.5] * 9, "long_factor": [2.0, 3.5, 7, 13, 40] * 9}
        scaling = {k: v[:count] if isinstance(v, list) else v for k, v in scaling.items()}
        if rng.random() < 0.6:
            c["original_max_position_embeddings"] = rng.choice((8, 32, 59, 60))
    where = rng.choice(("rope_scaling", "rope_parameters"))
    if scaling or rng.random() < 0.5:
        c[where] = scaling
    if theta:
        place = c[where] if where in c and rng.random() < (0.7 if where == "rope_parameters" else 0.1) else c
        place["rope_theta"] = theta
    return c


def sizes(config):
    """Returns the keys that made.py needs, with the values that transformers read."""
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "tie_word_embeddings", "model_type")
    found = {k: getattr(config, k) for k in keys}
    found |= {k: getattr(config, k, False) for k in ("attention_bias", "mlp_bias")}
    found["head_dim"] = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return found


def reference(text, tokens):
    """Returns the sizes that transformers reads and the logits that it computes."""
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/config.json", "w") as file:
            file.write(text)
        raw = json.loads(text)
        if "model_type" not in raw:
            with open(f"{place}/config.json", "w") as file:
                json.dump({"model_type": "llama", **raw}, file)
        understood = sizes(AutoConfig.from_pretrained(place))
        save_file({n: torch.from_numpy(a) for n, a in made.weights(understood).items()}, f"{place}/model.safetensors",
                  {"format": "pt"})
        model, info = AutoModelForCausalLM.from_pretrained(place, attn_implementation="eager", dtype=torch.float32,
                                                           output_loading_info=True)
        lost = {k: sorted(v) for k, v in info.items() if v}
        if lost:
            raise ValueError(f"not loaded as it stands: {lost}")
        ids = torch.from_numpy(made.tokens(tokens, understood["vocab_size"]))[None]
        with torch.no_grad():
            return understood, model.eval()(ids).logits[0].float()


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    chosen = CHOSEN
    if len(sys.argv) > 2:
        rng = random.Random(int(sys.argv[3]))
        chosen = {f"random-{i}": at_random(rng) for i in range(int(sys.argv[2]))}
    cases, logits = [], {}
    for name, config in chosen.items():
        tokens = 4000 if name.endswith("-long") else 60
        case = {"name": name, "text": json.dumps(config), "tokens": tokens, "rows": [0, tokens // 3, tokens - 1]}
        try:
            case["values"], got = reference(case["text"], tokens)
            case["is_loaded"] = bool(torch.isfinite(got).all())
            if case["is_loaded"]:
                logits[name] = got[case["rows"]].contiguous()
        except Exception as error:
            case["is_loaded"] = False
            case["error"] = f"{type(error).__name__}: {error}"[:160]
        cases.append(case)
        print(name, "loaded" if case["is_loaded"] else f"refused: {case.get('error')}")
    json.dump(cases, open(f"{out}/cases.json", "w"), indent=1)
    save_file(logits, f"{out}/logits.safetensors", {"format": "pt"})


main()
