#!/usr/bin/env python3
"""real_losses.py MODEL.gguf TOKENS BIN [MERGED] - compares losses of a pretrained model with
transformers' on the same tokens: of the base with each position scaling, and of a merged directory.

MODEL.gguf is SmolLM2-135M-Instruct, TOKENS a stream of tokens of one text of at least 16897 tokens
(bin/tokenize), MERGED a directory that bin/merge wrote. Prints a line for each scaling and context:
both losses and their difference. Fails if a difference exceeds 1e-4. Both compute in f32.
LONG=none,linear:2,merged,… names those that are compared beyond the base's context too.
"""
import gc
import json
import os
import subprocess
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

model, tokens, programs = sys.argv[1:4]
merged = sys.argv[4] if len(sys.argv) > 4 else None
BOUND = 1e-4
# The tokens that make two windows of a context within the base's, and one of a context beyond it.
CONTEXTS = {512: 1537, 8448: 16897}
LONG = os.environ.get("LONG", "dynamic:2").split(",")
THREADS = os.environ.get("THREADS", "1")
torch.set_num_threads(int(THREADS))

lines = subprocess.run([f"{programs}/tokenize", "--quiet", "--from", "stream", "--to", "jsonl", tokens],
                       capture_output=True, text=True, check=True).stdout.splitlines()
text = [t for line in lines[1:-1] for t in json.loads(line)["tokens"]]


def ours(place, context, *options):
    out = subprocess.run(
        [f"{programs}/ppl", "--quiet", "--model", place, "--data", tokens, "--device", "cpu", "--threads", THREADS,
         "--context", str(context), "--max-tokens", str(CONTEXTS[context]), "--to", "json", *options],
        capture_output=True, text=True, check=True).stdout
    return json.loads(out)["scores"][0]["nll"]


def theirs(m, context):
    count = CONTEXTS[context]
    means = []
    for start in list(range(0, count - context, context))[:-1]:
        ids = torch.tensor(text[start:start + context])
        with torch.no_grad():
            hidden = m.model(ids[None]).last_hidden_state[0]
            total = sum(torch.nn.functional.cross_entropy(
                m.lm_head(hidden[i:min(i + 1024, context - 1)]).double(), ids[i + 1:min(i + 1025, context)],
                reduction="sum").item() for i in range(0, context - 1, 1024))
        means.append(total / (context - 1))
    return sum(means) / len(means)


worst = 0


def compare(name, m, place, contexts, *options):
    global worst
    for context in contexts:
        a, b = ours(place, context, *options), theirs(m, context)
        worst = max(worst, abs(a - b))
        print(f"{name:12} {context:6}  ours {a:.6f}  transformers {b:.6f}  difference {abs(a - b):.1e}", flush=True)


folder, name = os.path.split(os.path.abspath(model))
config = AutoConfig.from_pretrained(folder, gguf_file=name)
theta, original = config.rope_parameters["rope_theta"], config.max_position_embeddings
dim = config.hidden_size // config.num_attention_heads
scalings = {
    "none": {"rope_type": "default"},
    "linear:2": {"rope_type": "linear", "factor": 2.0},
    "ntk:2": {"rope_type": "default", "rope_theta": theta * 2 ** (dim / (dim - 2))},
    "dynamic:2": {"rope_type": "dynamic", "factor": 2.0},
    "llama3:2": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                 "original_max_position_embeddings": original},
    "yarn:2": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": original},
}
for rope, parameters in scalings.items():
    config.rope_parameters = {"rope_theta": theta, **parameters}
    m = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, config=config, dtype=torch.float32).eval()
    # Dynamic scaling changes nothing within the base's context.
    compare(rope, m, model, [512, 8448] if rope in LONG else [512], "--rope", rope)
    del m
    gc.collect()
if merged:
    m = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    compare("merged", m, merged, [512, 8448] if "merged" in LONG else [512])
print(f"largest difference {worst:.1e}")
sys.exit(worst > BOUND)
