#!/usr/bin/env python3
"""Writes golden/fp8: numbers of 8 bits (e4m3) and the roundings to them, by ml_dtypes.

    fp8.py fp8        with ml_dtypes==0.5.3 numpy==2.4.6

A line "value CODE BITS" has a code and the bits of its value as f32, both in hexadecimal. A line
"round BITS CODE" has an f32 and the code of the nearest number, ties to even. ml_dtypes makes NaN of
numbers beyond 464; fp8.h limits them to 448, so the script does that first.
"""
import os
import sys

import ml_dtypes
import numpy

E4M3 = ml_dtypes.float8_e4m3fn


def bits(x):
    return int(numpy.float32(x).view(numpy.uint32))


def code(x):
    limited = numpy.float32(x) if numpy.isnan(x) else numpy.clip(numpy.float32(x), -448, 448)
    return int(limited.astype(E4M3).view(numpy.uint8))


codes = numpy.arange(256, dtype=numpy.uint8)
values = codes.view(E4M3).astype(numpy.float32)
magnitudes = values[:127]
cases = [0.0, 448.0, 449.0, 463.9, 464.0, 464.1, 480.0, 1e9, 3e38, 1e-45, 1e-30, 2.0**-10, 2.0**-9]
for low, high in zip(magnitudes, magnitudes[1:]):
    middle = numpy.float32((low + high) / 2)
    cases += [middle, numpy.nextafter(middle, numpy.float32(0)),
              numpy.nextafter(middle, numpy.float32(500)), (low + middle) / 2]
random = numpy.random.default_rng(8)
cases += list(random.standard_normal(60) * 2.0 ** random.integers(-12, 10, 60))

os.makedirs(sys.argv[1], exist_ok=True)
with open(os.path.join(sys.argv[1], "e4m3"), "w") as to:
    for c, v in zip(codes, values):
        to.write(f"value {c:02x} {bits(v) if not numpy.isnan(v) else 0x7fc00000:08x}\n")
    for x in cases:
        for signed in (numpy.float32(x), -numpy.float32(x)):
            to.write(f"round {bits(signed):08x} {code(signed):02x}\n")
    to.write(f"round 7fc00000 7f\nround 7f800001 7f\nround 7fffffff 7f\n")
    to.write(f"round 7f800000 7e\nround ff800000 fe\n")
