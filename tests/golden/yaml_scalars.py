#!/usr/bin/env python3
"""yaml_scalars.py OUT - lists how PyYAML 6 reads plain scalars, and how Python's float() reads those that are texts for PyYAML.

Each line has the scalar as JSON, PyYAML's type, the value (integers in decimal, floats by repr), and float() of a text.
"""
import itertools
import json
import sys

import yaml

assert yaml.__version__.startswith("6.")

WORDS = ["", "~", "null", "Null", "NULL", "nULL", "none", "None", "nil", "yes", "Yes", "YES", "yES", "no", "No", "NO", "nO", "true", "True", "TRUE", "tRUE",
         "false", "False", "FALSE", "on", "On", "ON", "oN", "off", "Off", "OFF", "y", "Y", "n", "N", "t", "f", "auto", "all", "all-linear", "q_proj,v_proj",
         ".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.INF", ".iNF", "inf", "-inf", "Infinity", ".nan", ".NaN", ".NAN", "-.nan", ".Nan", "nan", "NaN",
         "2026-11-29", "2026-1-2", "2026-11-29 10:00:00", "a/b", "/a", "./a", "~/a", "linear:2", "12k", "0.1%", "10%", "1,000", "1 000", "2e-4f", "0x1p3",
         "--1", "+-1", "+", "-.", ".", "..", "_", "_1", "1_", "1__0", "1_000", "1_000.5", "1_0.5_0", "._5", ".5_", "0_", "0_1", "0x_", "0x_1", "0b_", "0b_1",
         "1e5", "1E5", "1e+5", "1e-5", "1.e5", "1.e+5", "1.0e5", "1.0e+5", "1.0E-5", ".5e1", ".5e+1", "2e-4", "2e5", "1e", "1e+", "e5", "1_0e5", "1e1_0",
         "1e999", "1.0e+999", "-1e999", "1e-999", "4.9e-324", "0.30000000000000004", "5", "+5", "-5", "0", "+0", "-0", "00", "007", "010", "-010", "08", "09",
         "0o10", "0O10", "0o", "0o8", "0x1f", "0X1F", "0x1G", "-0x10", "+0x10", "0b101", "-0b1", "0b2", "0.", "0.0", "-0.0", ".5", "-.5", "+.5", "5.", "-5.",
         "1:30", "01:30", "1:60", "1:5", "1:30:00", "1:30.5", "0:30", "0:30.5", "1:", ":30", "1:300", "190:20:30", "-1:30", "+1:30.", "685.230_15e+03",
         "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "100000000000000000000",
         "0x7fffffffffffffff", "0x8000000000000000", "0b" + "1" * 63, "1" * 40, "0." + "3" * 40, "17_", "1_2_3", "0.1_", "1._5", "1.5.5", "1-5", "1+5"]


def main(out):
    texts = list(WORDS)
    for sign, whole, rest, power in itertools.product(["", "+", "-"], ["", "0", "3", "12", "012", "1_2"], ["", ".", ".0", ".25"], ["", "e3", "e+3", "E-3"]):
        text = sign + whole + rest + power
        if text not in texts:
            texts.append(text)
    with open(out, "w", encoding="utf-8") as f:
        for text in texts:
            try:
                value = yaml.safe_load("a: " + text)["a"] if text else yaml.safe_load("a:")["a"]
                kind = type(value).__name__
            except (yaml.YAMLError, ValueError):
                value, kind = None, "error"
            said = repr(value) if kind in ("int", "float") else ""
            cast = ""
            if kind == "str":
                assert value == text, (value, text)
                try:
                    cast = repr(float(text)) if any(c.isdigit() for c in text) else ""
                except ValueError:
                    pass
            f.write("\t".join([json.dumps(text), kind, said, cast]) + "\n")


main(sys.argv[1])
