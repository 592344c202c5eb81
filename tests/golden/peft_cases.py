#!/usr/bin/env python3
"""Computes gradients and merges with PEFT, for tests/unit/test_peft.c.

usage: peft_cases.py OUT_DIR        (environment: see README.md)

A synthetic model (made.py) has LoRA on every linear layer, and its embedding, norms and head are saved whole. All numbers of the
adapter are made, too. OUT_DIR/adapter is the adapter as PEFT saves it, and OUT_DIR/adapter-bin as older versions did.
OUT_DIR/gradients.safetensors has the gradients of the mean loss of 24 synthetic tokens. OUT_DIR/merged-*.safetensors are the
results of merge_and_unload in f32, f16 and bf16.
"""
import json
import os
import sys

import made
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

out = sys.argv[1]
os.makedirs(f"{out}/adapter-bin", exist_ok=True)
CONFIG = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=48, hidden_size=32,
              intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
              hidden_act="silu", max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False)
json.dump(CONFIG, open(f"{out}/config.json", "w"))


def base(dtype):
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="eager"))
    model.load_state_dict({n: torch.from_numpy(a) for n, a in made.weights(CONFIG).items()})
    return model.to(dtype)


model = get_peft_model(base(torch.float32), LoraConfig(
    r=4, lora_alpha=6, lora_dropout=0.0, task_type="CAUSAL_LM", modules_to_save=["embed_tokens", "norm", "lm_head"],
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
with torch.no_grad():
    for i, (name, p) in enumerate(trained.items()):
        moved = torch.from_numpy(made.numbers(7000 + i, p.numel()).astype(np.float32)).view(p.shape) / 8
        p.copy_(moved if "lora" in name else p + moved)
model.base_model.model.config._name_or_path = "made"
model.peft_config["default"].base_model_name_or_path = "made"
model.save_pretrained(f"{out}/adapter", safe_serialization=True)
os.remove(f"{out}/adapter/README.md")
torch.save(load_file(f"{out}/adapter/adapter_model.safetensors"), f"{out}/adapter-bin/adapter_model.bin")
open(f"{out}/adapter-bin/adapter_config.json", "w").write(open(f"{out}/adapter/adapter_config.json").read())

ids = torch.from_numpy(made.tokens(24, 48))[None]
loss = model(input_ids=ids, labels=ids).loss
loss.backward()
saved = set(load_file(f"{out}/adapter/adapter_model.safetensors"))
gradients = {"loss": loss.detach().view(1)}
for name, p in trained.items():
    plain = name.replace(".default", "").replace(".modules_to_save", "")
    assert plain in saved, plain
    gradients[plain] = p.grad.contiguous()
assert set(gradients) == saved | {"loss"}
save_file(gradients, f"{out}/gradients.safetensors")

for dtype, name in ((torch.float32, "f32"), (torch.float16, "f16"), (torch.bfloat16, "bf16")):
    merged = PeftModel.from_pretrained(base(dtype), f"{out}/adapter").merge_and_unload()
    state = {n: t.to(dtype).contiguous() for n, t in merged.state_dict().items()}
    assert set(state) == set(made.weights(CONFIG)), set(state) ^ set(made.weights(CONFIG))
    save_file(state, f"{out}/merged-{name}.safetensors")
print(float(loss))
