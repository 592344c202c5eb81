#!/usr/bin/python3
"""Golden logits, losses and gradients of tiny LLaMAs, computed by PyTorch in double precision.

usage: llama.py OUT_DIR        (python3-torch 1.13.1; see README.md for the environment)

Writes a model directory and cases.safetensors for multi-head attention, for grouped-query attention, and for 9 query heads
that share 3 key heads (s2 only). For each of {full, s2} x {plain, lora} there are the logits, and the gradients of every weight
(plain) or of the adapters (lora). Two samples of 24 and 17 tokens are one batch. If transformers 4.31 can be
imported, the plain full-attention logits are checked against LlamaForCausalLM first.
"""
import json
import os
import struct
import sys

import torch

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)

SAMPLES = [24, 17]
GROUP = 8
RANK, ALPHA = 4, 6.0
BASE = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=40, hidden_size=16,
            intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, hidden_act="silu",
            max_position_embeddings=32, rms_norm_eps=1e-5, rope_theta=10000.0,
            tie_word_embeddings=False, rope_scaling={"type": "linear", "factor": 2.0},
            original_max_position_embeddings=32)


def write_safetensors(path, tensors):
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in tensors.items():
        value = value.detach()
        integer = not value.dtype.is_floating_point
        flat = (value.float() if integer else value.to(torch.float32)).contiguous()
        blob = struct.pack(f"<{flat.numel()}f", *flat.reshape(-1).tolist())
        header[name] = {"dtype": "F32", "shape": list(flat.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def head_dim(c):
    return c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])


def weights(c):
    d, f, c_dim = c["hidden_size"], c["intermediate_size"], head_dim(c)
    q, kv = c["num_attention_heads"] * c_dim, c["num_key_value_heads"] * c_dim
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], d)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        shapes.update({p + "input_layernorm.weight": (d,), p + "self_attn.q_proj.weight": (q, d),
                       p + "self_attn.k_proj.weight": (kv, d), p + "self_attn.v_proj.weight": (kv, d),
                       p + "self_attn.o_proj.weight": (d, q),
                       p + "post_attention_layernorm.weight": (d,), p + "mlp.gate_proj.weight": (f, d),
                       p + "mlp.up_proj.weight": (f, d), p + "mlp.down_proj.weight": (d, f)})
    shapes.update({"model.norm.weight": (d,), "lm_head.weight": (c["vocab_size"], d)})
    # Values that f32 represents exactly, so that both sides compute with the same values.
    return {n: (torch.randn(s) * 0.25 + (1 if "norm" in n else 0)).float().double() for n, s in shapes.items()}


def mask(t, head, heads, s2):
    rows, start = torch.arange(t), torch.zeros(t, dtype=torch.long)
    if s2 and head < heads // 2:
        start = rows // GROUP * GROUP
    elif s2:
        half = GROUP // 2
        start = torch.where(rows < half, torch.zeros_like(rows), (rows - half) // GROUP * GROUP + half)
    allowed = (rows[None, :] <= rows[:, None]) & (rows[None, :] >= start[:, None])
    return torch.where(allowed, 0.0, float("-inf"))


def norm(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def forward(c, w, adapters, ids, s2):
    t, d, heads, kv_heads = len(ids), c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    dim = head_dim(c)
    # Frequencies and angles are in f32, as in transformers.
    inverse = 1.0 / (torch.tensor(c["rope_theta"], dtype=torch.float32) **
                     (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    angles = torch.outer(torch.arange(t, dtype=torch.float32) / c["rope_scaling"]["factor"], inverse)
    cos, sin = angles.double().cos().float().double(), angles.double().sin().float().double()

    def linear(x, name):
        y = x @ w[name].T
        if name in adapters:
            a, b = adapters[name]
            y = y + ALPHA / RANK * (x @ a.T) @ b.T
        return y

    def rotate(x):
        a, b = x[..., :dim // 2], x[..., dim // 2:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        n = norm(x, w[p + "input_layernorm.weight"], c["rms_norm_eps"])
        q = linear(n, p + "self_attn.q_proj.weight").view(t, heads, dim)
        k = linear(n, p + "self_attn.k_proj.weight").view(t, kv_heads, dim)
        v = linear(n, p + "self_attn.v_proj.weight").view(t, kv_heads, dim)
        out = []
        for h in range(heads):
            j = h * kv_heads // heads
            s = rotate(q[:, h]) @ rotate(k[:, j]).T / dim ** 0.5 + mask(t, h, heads, s2)
            out.append(torch.softmax(s, -1) @ v[:, j])
        x = x + linear(torch.cat(out, -1), p + "self_attn.o_proj.weight")
        n = norm(x, w[p + "post_attention_layernorm.weight"], c["rms_norm_eps"])
        gate = linear(n, p + "mlp.gate_proj.weight")
        x = x + linear(torch.nn.functional.silu(gate) * linear(n, p + "mlp.up_proj.weight"),
                       p + "mlp.down_proj.weight")
    return norm(x, w["model.norm.weight"], c["rms_norm_eps"]) @ w["lm_head.weight"].T


def check_with_transformers(c, w, ids, logits):
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError:
        print("transformers is not here: logits not compared with it")
        return
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in c.items() if k != "original_max_position_embeddings"}))
    model.load_state_dict({k: v for k, v in w.items()}, strict=False)
    theirs = model.double()(torch.tensor([ids])).logits[0]
    worst = ((theirs - logits).abs().max() / logits.abs().max()).item()
    print(f"transformers: logits differ by {worst:.2e} of the largest")
    assert worst < 1e-6


def main():
    out = sys.argv[1]
    odd = dict(num_attention_heads=9, num_key_value_heads=3, head_dim=8, num_hidden_layers=1)
    for kind, own in (("mha", dict(num_key_value_heads=4)), ("gqa", dict(num_key_value_heads=2)), ("odd", odd)):
        c = dict(BASE, **own)
        w = weights(c)
        directory = os.path.join(out, f"llama-{kind}")
        os.makedirs(directory, exist_ok=True)
        json.dump(c, open(os.path.join(directory, "config.json"), "w"), indent=2)
        write_safetensors(os.path.join(directory, "model.safetensors"), w)
        samples = [torch.randint(0, c["vocab_size"], (n,)).tolist() for n in SAMPLES]
        names = [n for n in w if "_proj" in n]
        adapters = {n: (torch.randn(RANK, w[n].shape[1]).mul(0.3).float().double(),
                        torch.randn(w[n].shape[0], RANK).mul(0.3).float().double()) for n in names}
        cases = {"ids": torch.tensor(sum(samples, []))}
        for n, (a, b) in adapters.items():
            cases[f"lora_A.{n}"], cases[f"lora_B.{n}"] = a, b
        with torch.no_grad():
            if kind != "odd":  # transformers requires a hidden size that is divisible by 9
                check_with_transformers(c, w, samples[0], forward(c, w, {}, samples[0], False))
        for s2 in (True,) if kind == "odd" else (False, True):
            for lora in (False, True):
                prefix = f"{'s2' if s2 else 'full'}.{'lora' if lora else 'plain'}."
                leaves = {f"lora_{'AB'[i]}.{n}": ab[i] for n, ab in adapters.items() for i in (0, 1)} if lora else w
                for leaf in leaves.values():
                    leaf.requires_grad_(True)
                logits = [forward(c, w, adapters if lora else {}, ids, s2) for ids in samples]
                count = sum(len(ids) - 1 for ids in samples)
                loss = sum(torch.nn.functional.cross_entropy(z[:-1], torch.tensor(ids[1:]), reduction="sum")
                           for z, ids in zip(logits, samples)) / count
                gradients = torch.autograd.grad(loss, list(leaves.values()))
                for leaf in leaves.values():
                    leaf.requires_grad_(False)
                cases[prefix + "logits"] = torch.cat(logits)
                cases[prefix + "loss"] = loss.reshape(1)
                for name, g in zip(leaves, gradients):
                    cases[prefix + "grad." + name] = g
        write_safetensors(os.path.join(directory, "cases.safetensors"), cases)


main()
