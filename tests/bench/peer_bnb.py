#!/usr/bin/env python3
"""Measures the seconds that bitsandbytes takes on the CPU for a model's linear layers: NF4, double quantization.

usage: peer_bnb.py MODEL_DIR THREADS        (environment: see tests/golden/README.md)

Reads tensors one by one through safetensors, as quantize does; writes nothing.
"""
import glob
import sys
import time

import torch
from bitsandbytes.functional import quantize_4bit
from safetensors import safe_open

torch.set_num_threads(int(sys.argv[2]))
began, count = time.time(), 0
for path in sorted(glob.glob(f"{sys.argv[1]}/*.safetensors")):
    with safe_open(path, "pt") as f:
        for name in f.keys():
            if "_proj" not in name:
                continue
            weight = f.get_tensor(name)
            quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
            count += weight.numel()
seconds = time.time() - began
print(f"bitsandbytes: {count / 1e6:.0f} million weights in {seconds:.1f} s, {count / seconds / 1e6:.1f} million a second")
