#!/usr/bin/env python3
"""gguf_ppl.py MODEL.gguf TEXT BIN [CONTEXT TOKENS] - compares the loss of the same tokens here and in
llama.cpp.

Tokenizes TEXT with both, compares the ids, and prints the mean loss of ppl's windows of CONTEXT (256)
as llama.cpp computes it, then ppl's own table. TOKENS limits how many tokens of TEXT are used. Needs llama-cpp-python 0.3.36 (numpy), built for the CPU.
"""
import json
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

model, path, programs = sys.argv[1:4]
CONTEXT = int(sys.argv[4]) if len(sys.argv) > 4 else 256
limit = ["--max-tokens", sys.argv[5]] if len(sys.argv) > 5 else []

# Repacked weights use AMX instructions, which some operating systems do not let a process use.
standard = llama_cpp.llama_cpp.llama_model_default_params


def plain():
    p = standard()
    p.use_extra_bufts = False
    return p


llama_cpp.llama_cpp.llama_model_default_params = llama_cpp.llama_model_default_params = plain

tokens = tempfile.NamedTemporaryFile(suffix=".tok")
encode = [f"{programs}/tokenize", "--quiet", "--format", "text", "-m", model]
lines = subprocess.run([*encode, "--to", "jsonl", path], capture_output=True, text=True, check=True).stdout
ids = json.loads(lines.splitlines()[1])["tokens"]
subprocess.run([*encode, "-o", tokens.name, path], check=True)

l = llama_cpp.Llama(model, n_ctx=CONTEXT, n_batch=CONTEXT, n_ubatch=CONTEXT, logits_all=True, verbose=False)
with open(path, "rb") as f:
    theirs = l.tokenize(f.read(), add_bos=False, special=False)
print(f"{len(ids)} ids, {'equal' if ids == theirs else 'DIFFERENT'}")
ids = ids[:int(limit[1])] if limit else ids
means = []
for start in list(range(0, len(ids) - CONTEXT, CONTEXT))[:-1]:
    l.reset()
    l.eval(ids[start:start + CONTEXT])
    losses = []
    for i in range(CONTEXT - 1):
        logits = np.array(l.scores[i], dtype=np.float64)
        most = logits.max()
        losses.append(most + np.log(np.exp(logits - most).sum()) - logits[ids[start + i + 1]])
    means.append(np.mean(losses))
print(f"llama.cpp: {len(means)} windows, loss {np.mean(means):.5f}, perplexity {np.exp(np.mean(means)):.4f}")
print(subprocess.run([f"{programs}/ppl", "--quiet", "-m", model, "-d", tokens.name, "-c", str(CONTEXT), "--device", "cpu", *limit],
                     capture_output=True, text=True, check=True).stdout)
