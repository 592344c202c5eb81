#!/usr/bin/env python3
"""Makes pytorch_model.bin, alone and in shards, for tests/unit/test_torch.c.

usage: torch_files.py OUT_DIR        (python3-torch 1.13.1, transformers 4.31.0; see README.md)

The weights are made.py's: in f16 as shards, by transformers, and in bf16 as one file, by torch.save. As in old checkpoints,
there are also tables of inverse frequencies, parameters, and views of a larger storage.
"""
import json
import os
import sys

import made
import torch
from transformers import LlamaConfig, LlamaForCausalLM

out = sys.argv[1]
config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=48, hidden_size=16,
              intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
              hidden_act="silu", max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False)
state = {name: torch.from_numpy(array) for name, array in made.weights(config).items()}

os.makedirs(f"{out}/one", exist_ok=True)
model = LlamaForCausalLM(LlamaConfig(**config))
model.load_state_dict(state, strict=False)
model.half().save_pretrained(f"{out}/shards", max_shard_size="3KB", safe_serialization=False)
os.remove(f"{out}/shards/generation_config.json")

# An OrderedDict with _metadata, as modules return it. One tensor is a parameter, one is a view.
model.float().load_state_dict(state, strict=False)
alone = model.bfloat16().state_dict()
alone["model.norm.weight"] = torch.nn.Parameter(alone["model.norm.weight"])
wide = torch.zeros(100, 16, dtype=torch.bfloat16)
wide[7:55] = alone["lm_head.weight"]
alone["lm_head.weight"] = wide[7:55]
alone["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.rand(4)
torch.save(alone, f"{out}/one/pytorch_model.bin")
json.dump(config, open(f"{out}/one/config.json", "w"))
