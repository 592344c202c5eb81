#!/usr/bin/env python3
"""Counts the NF4 codes for which bitsandbytes' CUDA kernels differ from IEEE arithmetic, which this project and
bitsandbytes on the CPU use.

usage: bnb_codes.py [MILLIONS]        (a GPU, PyTorch, bitsandbytes)

Its CUDA code divides approximately, so a value next to a threshold may get the neighbouring code.
"""
import json
import sys

import torch
from bitsandbytes.functional import quantize_4bit

count = int(float(sys.argv[1]) * 2**20) if len(sys.argv) > 1 else 1 << 26
torch.manual_seed(1)
for kind in (torch.float16, torch.bfloat16, torch.float32):
    x = (torch.randn(count) * 0.02).to(kind)
    there, there_state = quantize_4bit(x.cuda(), blocksize=64, quant_type="nf4", compress_statistics=True)
    here, here_state = quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=True)
    there, here = there.cpu().view(-1), here.view(-1)
    differing = int(((there ^ here) & 15 != 0).sum() + ((there ^ here) >> 4 != 0).sum())
    scales = int((there_state.absmax.cpu() != here_state.absmax).sum())
    print(json.dumps({"bitsandbytes": "CUDA against CPU", "from": str(kind).removeprefix("torch."), "codes": count,
                      "codes_differing": differing, "absmax_codes": here_state.absmax.numel(), "absmax_codes_differing": scales,
                      "offset": float(there_state.offset), "offset_cpu": float(here_state.offset)}))
