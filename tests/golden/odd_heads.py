#!/usr/bin/env python3
"""Computes shifted short attention of 9 query heads that share 3 key heads, as LongLoRA's code without flash attention computes it.

usage: odd_heads.py DIR        (numpy and PyTorch 2.15.0; see README.md; DIR is longlora)

This script does the same as that code (llama_attn_replace.py, forward_noflashattn): it repeats keys and values for their query
heads, rolls the heads from heads // 2 on by half a group, attends causally inside groups, and rolls back. So in the rolled
heads the first GROUP / 2 rows also see the last GROUP / 2 rows. Our programs do not compute this, so the outputs of these rows
are not compared, and their gradient is 0 here. q, k, v and the gradient of the output are the sequences 7001 to 7004 of
made.numbers, times 2. odd-heads.safetensors has o, dq, dk and dv.
"""
import math
import sys

import made
import torch
from safetensors.torch import save_file

ROWS, GROUP, HEADS, KEYS, DIM = 32, 8, 9, 3, 8


def numbers(sequence, heads):
    return torch.from_numpy(made.numbers(sequence, ROWS * heads * DIM) * 2).view(ROWS, heads, DIM)


def shift(x):
    """Rolls the upper heads by half a group. Changes the shape from [heads, rows, dim] to [groups, heads, GROUP, dim]."""
    x = torch.cat((x[:HEADS // 2], x[HEADS // 2:].roll(-GROUP // 2, dims=1)))
    return x.transpose(0, 1).reshape(ROWS // GROUP, GROUP, HEADS, DIM).transpose(1, 2)


q, k, v, dout = numbers(7001, HEADS), numbers(7002, KEYS), numbers(7003, KEYS), numbers(7004, HEADS)
dout[:GROUP // 2, HEADS // 2:] = 0
for x in (q, k, v):
    x.requires_grad_(True)
repeated = [x.transpose(0, 1).repeat_interleave(HEADS // n, dim=0) for x, n in ((q, HEADS), (k, KEYS), (v, KEYS))]
qs, ks, vs = (shift(x) for x in repeated)
mask = torch.full((GROUP, GROUP), -math.inf, dtype=torch.float64).triu(1)
weights = torch.softmax(qs @ ks.transpose(2, 3) / math.sqrt(DIM) + mask, -1)
o = (weights @ vs).transpose(1, 2).reshape(ROWS, HEADS, DIM)
o = torch.cat((o[:, :HEADS // 2], o[:, HEADS // 2:].roll(GROUP // 2, dims=0)), 1)
o.backward(dout)
save_file({"o": o.detach().float().contiguous(), "dq": q.grad.float(), "dk": k.grad.float(), "dv": v.grad.float()},
          f"{sys.argv[1]}/odd-heads.safetensors", {"format": "pt"})
