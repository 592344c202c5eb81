#!/usr/bin/env python3
"""s2_wrap.py TEXT... - measures what the wrap of LongLoRA's S2-Attn without FlashAttention does to the loss. Trains the
same small model of bytes with and without the wrap, and prints the loss of each eighth of a sample.

Environment: torch. A group is a quarter of a sample. Heads from heads / 2 on are rolled by half a group. With the wrap
the last group of the rolled heads consists of the end of the sample and its beginning. Without it the end and the beginning
are two groups.
"""
import sys

import torch
import torch.nn.functional as F
from torch import nn

LENGTH, WIDTH, HEADS, LAYERS, BATCH, STEPS, MEASURED = 256, 96, 4, 2, 8, 400, 64


def mask_of(kind):
    """Returns which keys each query sees: [HEADS, LENGTH, LENGTH]."""
    group, half = LENGTH // 4, LENGTH // 8
    at = torch.arange(LENGTH)
    causal = at[:, None] >= at[None, :]
    plain = causal & (at[:, None] // group == at[None, :] // group)
    if kind == "full":
        return causal.expand(HEADS, -1, -1)
    if kind == "apart":
        shifted = causal & ((at[:, None] + half) // group == (at[None, :] + half) // group)
    else:
        rolled = (at - half) % LENGTH
        shifted = (rolled[:, None] // group == rolled[None, :] // group) & (rolled[:, None] >= rolled[None, :])
    return torch.stack([plain] * (HEADS // 2) + [shifted] * (HEADS - HEADS // 2))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, mask):
        q, k, v = self.qkv(self.norm1(x)).view(x.shape[0], LENGTH, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.position = nn.Embedding(256, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256)

    def forward(self, ids, mask):
        x = self.embedding(ids[:, :-1]) + self.position.weight
        for layer in self.layers:
            x = layer(x, mask)
        return F.cross_entropy(self.head(self.norm(x)).transpose(1, 2), ids[:, 1:], reduction="none")


def main(paths):
    torch.set_num_threads(1)
    text = torch.tensor(list(b"".join(open(p, "rb").read() for p in paths)))
    held, text = text[-200000:], text[:-200000]
    for kind in ("apart", "wrap"):
        torch.manual_seed(1)
        model, mask = Model(), mask_of(kind)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(STEPS):
            starts = torch.randint(len(text) - LENGTH - 1, (BATCH,))
            loss = model(torch.stack([text[s : s + LENGTH + 1] for s in starts]), mask).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            ids = torch.stack([held[i * 3000 : i * 3000 + LENGTH + 1] for i in range(MEASURED)])
            for name in dict.fromkeys((kind, "apart", "full")):
                eighths = model(ids, mask_of(name)).mean(0).view(8, -1).mean(1)
                print(f"trained {kind}, measured {name}:", " ".join(f"{x:.4f}" for x in eighths), flush=True)


main(sys.argv[1:])
