#!/usr/bin/env python3
"""Computes NF4 with bitsandbytes' own code, for tests/unit/test_bnb.c.

usage: bnb.py OUT_DIR        (environment: see README.md)

OUT_DIR/vectors.safetensors has the codes and absmax that quantize_4bit gives for four kinds of
numbers, and the double quantization of these absmax: offset, scales, and 8-bit codes, once by exact
midpoints and once from the CPU's own kernel. Only the numbers of kind 2 are stored; the test
computes the others, as made.py does. OUT_DIR/model and OUT_DIR/model-single are a model that
transformers saved in 4 bits, with and without double quantization. OUT_DIR/logits.safetensors has
their logits in f32.
"""
import json
import os
import sys
import tempfile

import bitsandbytes as bnb
import made
import numpy as np
import torch
from bitsandbytes.functional import create_dynamic_map
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
vectors = {}


def numbers(kind, count):
    x = made.numbers(5000 + kind, count)
    if kind == 1:  # blocks of very different size
        x = x * 2.0 ** (np.arange(count) // 64 % 23 - 12)
    if kind == 2:  # ties: each block has a 1, its largest value; the others are thresholds between codes
        table = bnb.functional.get_4bit_type("nf4", device="cpu").numpy()
        x = np.resize((table[:-1] + table[1:]) / 2, count)
        x[::64] = 1
    return x.astype(np.float32)


for kind, count in enumerate((64 * 256 * 2 + 64 * 5, 64 * 300, 64 * 40, 64)):
    x = torch.from_numpy(numbers(kind, count))
    codes, state = bnb.functional.quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=False)
    absmax = state.absmax.float()
    offset = absmax.mean()
    moved = absmax - offset
    table = create_dynamic_map().float()
    # This is plain PyTorch, as in bitsandbytes' default backend: the nearest code, by exact midpoints.
    blocks = torch.nn.functional.pad(moved, (0, -len(moved) % 256)).view(-1, 256)
    nested = blocks.abs().amax(1)
    scaled = torch.clamp(blocks * (1.0 / nested.clamp(min=1e-38)).view(-1, 1), -1, 1).view(-1)[:len(moved)]
    exact = torch.bucketize(scaled, (table[:-1] + table[1:]) / 2, out_int32=True).to(torch.uint8)
    own, own_state = bnb.functional.quantize_blockwise(moved, blocksize=256)
    assert torch.equal(own_state.absmax, nested), (own_state.absmax, nested)
    print(f"kind {kind}: {int((own != exact).sum())} of {len(own)} 8-bit codes of the CPU's kernel differ")
    if kind == 2:
        vectors["2.x"] = x
    vectors |= {f"{kind}.codes": codes.view(-1), f"{kind}.absmax": absmax, f"{kind}.offset": offset.view(1),
                f"{kind}.nested": nested, f"{kind}.absmax_codes": exact, f"{kind}.cpu_absmax_codes": own}
save_file(vectors, f"{out}/vectors.safetensors")

config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=48, hidden_size=64,
              intermediate_size=128, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
              hidden_act="silu", max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
              torch_dtype="float16")
with tempfile.TemporaryDirectory() as plain:
    json.dump(config, open(f"{plain}/config.json", "w"))
    save_file({n: torch.from_numpy(a).half() for n, a in made.weights(config).items()}, f"{plain}/model.safetensors",
              {"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(
        plain, device_map="cpu", dtype=torch.float32, attn_implementation="eager",
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                               bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32))
    model.save_pretrained(f"{out}/model")
    single = AutoModelForCausalLM.from_pretrained(
        plain, device_map="cpu", dtype=torch.float32, attn_implementation="eager",
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                               bnb_4bit_use_double_quant=False, bnb_4bit_compute_dtype=torch.float32))
    single.save_pretrained(f"{out}/model-single")
os.remove(f"{out}/model/generation_config.json")
os.remove(f"{out}/model-single/generation_config.json")
# In training mode the weights are dequantized and multiplied in f32. Otherwise the CPU's kernel rounds to bf16.
model.train()
with torch.no_grad():
    logits = model(torch.from_numpy(made.tokens(40, 48))[None]).logits[0].float()
single.train()
with torch.no_grad():
    single_logits = single(torch.from_numpy(made.tokens(40, 48))[None]).logits[0].float()
save_file({"model": logits.contiguous(), "model-single": single_logits.contiguous()}, f"{out}/logits.safetensors")
print(float(logits.abs().max()))
