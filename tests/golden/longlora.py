#!/usr/bin/env python3
"""Makes an adapter with embedding and norms beside it, as LongLoRA's training leaves it, and merges it in LongLoRA's way.

usage: longlora.py OUT_DIR        (transformers 4.31.0, peft 0.4.0; see README.md)

The base is made by made.py with peft/config.json. LongLoRA adds a padding token, so the embedding has one row more than the
base. OUT_DIR/merged.safetensors has only the base's rows.
"""
import json
import os
import sys

import made
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

out = sys.argv[1]
config = json.load(open(f"{out}/../peft/config.json"))
vocab = config["vocab_size"]


def base():
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict({n: torch.from_numpy(a) for n, a in made.weights(config).items()}, strict=False)
    model.resize_token_embeddings(vocab + 1)
    return model


def numbers(seed, shape):
    return torch.from_numpy(made.numbers(seed, int(np.prod(shape))).astype(np.float32)).view(shape)


model = base()
trained = {n: (p.detach() + numbers(9000 + i, tuple(p.shape)) / 8).bfloat16()
           for i, (n, p) in enumerate(model.named_parameters()) if "embed" in n or "norm" in n}
model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                                         target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
with torch.no_grad():
    for i, (n, p) in enumerate((n, p) for n, p in model.named_parameters() if "lora" in n):
        p.copy_(numbers(8000 + i, tuple(p.shape)) / 8)
model.peft_config["default"].base_model_name_or_path = "made"
model.save_pretrained(out)
torch.save(trained, f"{out}/trainable_params.bin")
for name in ("README.md",):
    if os.path.exists(f"{out}/{name}"):
        os.remove(f"{out}/{name}")

merged = base()
missing = merged.load_state_dict(torch.load(f"{out}/trainable_params.bin"), strict=False)
assert not missing.unexpected_keys
merged = PeftModel.from_pretrained(merged, out).merge_and_unload().state_dict()
save_file({n: t[:vocab].float().contiguous() if t.shape[0] == vocab + 1 else t.float().contiguous()
           for n, t in merged.items() if "inv_freq" not in n}, f"{out}/merged.safetensors")
