#!/usr/bin/env python3
"""Measures how fast bitsandbytes multiplies one row by NF4 weights, as in decoding, in GB of weights per second.

usage: peer_row.py [IN OUT]        (a GPU, PyTorch, bitsandbytes)
"""
import json
import sys

import bitsandbytes as bnb
import torch

inputs, outputs = (int(a) for a in sys.argv[1:]) if len(sys.argv) > 2 else (4096, 11008)
layer = bnb.nn.Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4").cuda()
x = torch.randn(1, 1, inputs, device="cuda", dtype=torch.bfloat16)
times = []
with torch.no_grad():
    for _ in range(50):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(20):
            layer(x)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 20 / 1e3)
seconds = sorted(times)[len(times) // 2]
print(json.dumps({"peer": "bitsandbytes " + bnb.__version__, "operation": "one row by NF4 weights", "microseconds": round(seconds * 1e6, 1),
                  "GB_per_second": round(inputs * outputs * (0.5 + 1 / 64 + 4 / 16384) / seconds / 1e9, 1)}))
