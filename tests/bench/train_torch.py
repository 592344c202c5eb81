#!/usr/bin/python3
"""Trains the same LLaMA in PyTorch, for comparison: forward + backward + clip + AdamW.

usage: train_torch.py CONFIG.json BATCH CONTEXT STEPS    prints tokens a second
Debian's python3-torch 1.13. OPENBLAS_CORETYPE and malloc are set by tests/bench/run.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F


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

    def forward(self, x, cos, sin, mask):
        b, t, d = x.shape
        qkv = self.qkv(self.attn_norm(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        p = torch.softmax(q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5 + mask, -1)
        x = x + self.o((p @ v).transpose(1, 2).reshape(b, t, d))
        up, gate = self.up_gate(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = torch.nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = torch.nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.head = torch.nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        self.theta, self.c = c["rope_theta"], c["hidden_size"] // c["num_attention_heads"]

    def forward(self, ids):
        t = ids.shape[1]
        inverse = 1.0 / self.theta ** (torch.arange(0, self.c, 2).float() / self.c)
        angles = torch.outer(torch.arange(t).float(), inverse)
        mask = torch.full((t, t), float("-inf")).triu(1)
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), mask)
        return self.head(self.norm(x))


def main():
    config = json.load(open(sys.argv[1]))
    batch, context, steps = map(int, sys.argv[2:5])
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = Model(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=True)
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(steps):
            ids = torch.randint(0, config["vocab_size"], (batch, context))
            logits = model(ids)
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        best = max(best, steps * batch * context / (time.perf_counter() - start))
    print(f"{best:.0f}")


main()
