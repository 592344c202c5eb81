#!/usr/bin/python3
"""Trains the same LLaMA in PyTorch, for comparison: forward + backward + clip + AdamW.

usage: train_torch.py CONFIG.json BATCH CONTEXT STEPS f32|bf16    prints tokens a second

PyTorch 2 runs with its fast parts: scaled_dot_product_attention, fused AdamW and torch.compile.
Debian 12's PyTorch 1.13 has none of them that works on a CPU. bf16 is torch.autocast: weights and
optimizer in f32, products in bf16.
"""
import contextlib
import json
import sys
import time

import torch
import torch.nn.functional as F

MODERN = int(torch.__version__.split(".")[0]) >= 2


class Norm(torch.nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def attention(q, k, v):
    if MODERN:
        return F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True)
    mask = torch.full((q.shape[-2],) * 2, float("-inf")).triu(1)
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask, -1) @ v


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f = c["hidden_size"], c["intermediate_size"]
        self.heads, self.eps = c["num_attention_heads"], c["rms_norm_eps"]
        self.attn_norm, self.mlp_norm = Norm(d, self.eps), Norm(d, self.eps)
        self.qkv = torch.nn.Linear(d, 3 * d, bias=False)
        self.o = torch.nn.Linear(d, d, bias=False)
        self.up_gate = torch.nn.Linear(d, 2 * f, bias=False)
        self.down = torch.nn.Linear(f, d, bias=False)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        qkv = self.qkv(self.attn_norm(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # Products of bf16 and f32 are f32; attention gets the type of the values.
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        x = x + self.o(attention(q, k, v).transpose(1, 2).reshape(b, t, d))
        up, gate = self.up_gate(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(torch.nn.Module):
    def __init__(self, c, context):
        super().__init__()
        self.embed = torch.nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = torch.nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.head = torch.nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        width = c["hidden_size"] // c["num_attention_heads"]
        inverse = 1.0 / c["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(context).float(), inverse)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.head(self.norm(x))


def main():
    config = json.load(open(sys.argv[1]))
    batch, context, steps = map(int, sys.argv[2:5])
    bf16 = sys.argv[5] == "bf16"
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = Model(config, context)
    options = {"fused": True} if MODERN else {"foreach": True}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **options)

    def loss_of(ids):
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = model(ids)
        logits = logits[:, :-1].float().reshape(-1, logits.shape[-1])
        return F.cross_entropy(logits, ids[:, 1:].reshape(-1))

    if MODERN:
        loss_of = torch.compile(loss_of)

    def step():
        loss_of(torch.randint(0, config["vocab_size"], (batch, context))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(2):  # the first step compiles
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    print(f"{steps * batch * context / (time.perf_counter() - start):.0f}")


main()
