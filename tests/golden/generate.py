#!/usr/bin/env python3
"""Computes greedy continuations with transformers in f32. generate must give the same tokens.

usage: generate.py GOLDEN_DIR        (transformers 4.49, peft 0.14, torch; see README.md)

Reads the models of llama.py (GOLDEN_DIR/llama-mha, llama-gqa) and writes
GOLDEN_DIR/generate/: cases.json, a list of {name, model, rope_scaling, max_position_embeddings,
adapter, prompt, tokens, margin}, and the PEFT adapter of the cases that have one. margin is the
smallest distance between the two largest logits, relative to the largest. It must stay far above
the rounding of f32, or the comparison would mean nothing.
"""
import copy
import json
import os
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS, MARGIN = 256, 2e-4
ROPES = {
    "none": None,
    "linear": {"rope_type": "linear", "factor": 4.0},
    # The two wavelengths of these models are 6.3 and 628. Both cases keep the first. One divides the second, the other one blends it.
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
}


def load(directory, rope):
    config = json.load(open(os.path.join(directory, "config.json")))
    config.pop("original_max_position_embeddings", None)
    # 512 positions are enough for the generated text. YaRN's factor refers to max_position_embeddings.
    config.update(rope_scaling=rope, max_position_embeddings=128 if rope and rope["rope_type"] == "yarn" else 512)
    model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager"))
    missing = model.load_state_dict(load_file(os.path.join(directory, "model.safetensors")), strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys, missing
    return model.eval()


def greedy(model, prompt):
    """Calls transformers' generate. Then one forward over the whole text gives the margin, and must give the same tokens."""
    with torch.no_grad():
        text = torch.tensor([prompt])
        ids = model.generate(input_ids=text, attention_mask=torch.ones_like(text), max_new_tokens=TOKENS, do_sample=False,
                             eos_token_id=None, pad_token_id=0)[0]
        logits = model(ids[None]).logits[0, len(prompt) - 1:-1]
    top = logits.topk(2).values
    margin = ((top[:, 0] - top[:, 1]) / logits.abs().max(-1).values).min().item()
    if margin > MARGIN:
        assert logits.argmax(-1).tolist() == ids[len(prompt):].tolist()
    return ids[len(prompt):].tolist(), margin


def main():
    golden = sys.argv[1]
    out = os.path.join(golden, "generate")
    os.makedirs(out, exist_ok=True)
    cases = []
    for kind in ("mha", "gqa"):
        directory = os.path.join(golden, f"llama-{kind}")
        for rope_name, rope in ROPES.items():
            for with_adapter in (False, True):
                if with_adapter and rope_name != "none":
                    continue
                if rope_name == "llama3":
                    rope = dict(rope, original_max_position_embeddings=64 if kind == "gqa" else 1024)
                for seed in range(1000):
                    torch.manual_seed(seed)
                    prompt = torch.randint(0, 40, (5 + seed % 7,)).tolist()
                    model = load(directory, copy.deepcopy(rope))
                    name = f"{kind}-{rope_name}"
                    if with_adapter:
                        name += "-adapter"
                        model = get_peft_model(model, LoraConfig(
                            r=4, lora_alpha=6, task_type="CAUSAL_LM", init_lora_weights=False,
                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
                        model = model.eval()
                    tokens, margin = greedy(model, prompt)
                    if margin > MARGIN and len(set(tokens)) > 12:
                        break
                else:
                    raise SystemExit(f"{kind} {rope_name}: no prompt with a margin")
                adapter = None
                if with_adapter:
                    adapter = f"adapter-{kind}"
                    model.save_pretrained(os.path.join(out, adapter))
                    readme = os.path.join(out, adapter, "README.md")
                    if os.path.exists(readme):
                        os.remove(readme)
                print(f"{name}: seed {seed}, margin {margin:.1e}, {len(set(tokens))} different tokens")
                cases.append(dict(name=name, model=f"llama-{kind}", rope_scaling=rope,
                                  max_position_embeddings=128 if rope_name == "yarn" else 512,
                                  adapter=adapter, prompt=prompt, tokens=tokens, margin=margin))
    with open(os.path.join(out, "cases.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


main()
