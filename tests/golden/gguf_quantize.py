#!/usr/bin/env python3
"""gguf_quantize.py OUT - writes digests of values that gguf's own code quantizes.

quantized.tsv   type, CRC-32 of the quantized bytes. test_gguf_writer.c quantizes the same values,
                which it computes by the same formula. For F32, F16 and BF16 the bytes are those of
                gguf.quants.quantize. For Q8_0 and Q4_0 they are those of ggml's quantize_row_*_ref,
                which differ from those of gguf.quants only for a block of -0.0
Needs gguf 0.19.0, llama-cpp-python 0.3.36 (for libggml-base.so), numpy.
"""
import ctypes
import os
import sys
import zlib

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as T

COUNT = 1 << 14
ggml = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
state, values = 28, np.zeros(COUNT, np.float32)
for i in range(COUNT):
    state = (state * 1664525 + 1013904223) % 2 ** 32
    exponent = -30 + (i // 32) % 40  # small and large blocks; some become 0 in f16
    values[i] = np.float32((state >> 8) - 2 ** 23) * np.float32(2.0 ** exponent / 2 ** 23)
values[:32] = 0
values[32:64] = [(-1) ** i * (i % 8) / 2 for i in range(32)]  # multiples of 1/2, with -3.5 as the extreme four times
values[64:96] = -0.0
values[96:128] *= np.float32(2.0 ** -80)  # the scale rounds to 0 in f16, but the codes are not 0
with open(sys.argv[1] + "/quantized.tsv", "w") as out:
    for t in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0):
        made = gguf.quants.quantize(values.reshape(-1, 32), t)
        if t in (T.Q8_0, T.Q4_0):
            own = np.zeros_like(made)
            getattr(ggml, f"quantize_row_{t.name.lower()}_ref")(
                values.ctypes.data_as(ctypes.c_void_p), own.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int64(COUNT))
            assert np.array_equal(np.delete(own, 2, 0), np.delete(made, 2, 0))
            made = own
        out.write(f"{t.name}\t{zlib.crc32(made.tobytes())}\n")
