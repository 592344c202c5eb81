#!/usr/bin/env python3
"""Prints every model_type of transformers' AutoModelForCausalLM with the answer of our programs: the table of docs/ecosystem.md.

usage: model_types.py BIN > TABLE        (environment: that of transformers_logits.py, see README.md)

The answer is that of `generate --dry-run` for a config.json with this model_type and nothing else (ministral also needs a
head_dim). Either it plans the model, with transformers' default sizes, or it refuses the model by name.
"""
import json
import os
import subprocess
import sys
import tempfile

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

computed, refused = [], []
with tempfile.TemporaryDirectory() as place:
    for kind in sorted(NAMES):
        config = {"model_type": kind}
        if kind == "ministral":  # transformers cannot make it without this key either
            config["head_dim"] = 128
        with open(f"{place}/config.json", "w") as file:
            json.dump(config, file)
        got = subprocess.run([f"{sys.argv[1]}/generate", "--dry-run", "--context", "64", "-m", place],
                             capture_output=True, text=True, env={**os.environ, "LONGQLORA_MEMORY": str(1 << 50)})
        if f"model_type '{kind}': only " in got.stderr:
            refused.append(kind)
        elif got.returncode == 0:
            computed.append(kind)
        else:
            sys.exit(f"{kind}: {got.stderr}")
print("| answer | `model_type` |\n|---|---|")
print(f"| supported ({len(computed)}) | {', '.join(f'`{k}`' for k in computed)} |")
print(f"| refused by name ({len(refused)}) | {', '.join(f'`{k}`' for k in refused)} |")
