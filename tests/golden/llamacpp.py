#!/usr/bin/env python3
"""llamacpp.py BIN BASE TEXT [ADAPTER] - checks, by hand, the files of merge with llama.cpp itself.

BASE is a model directory or a GGUF with a tokenizer, ADAPTER an adapter that was trained on it.
The checks, for f32, f16, bf16, q8_0 and q4_0, and for the adapter's own GGUF:

  bits     every tensor equals the result of gguf's quants.quantize for that of the f32 file
  loading  n_ctx_train, n_vocab and the keys of position scaling, as llama.cpp reads them
  tokens   the ids of TEXT are those of tokenize
  ppl      perplexity of TEXT's first windows: llama.cpp on the file compared with ppl on the base
           with the adapter, and with ppl on the same file; for q8_0 and q4_0 also llama.cpp on the
           values of that file in f32, where it does not round the other operand to 8 bits
  greedy   32 tokens of llama.cpp on f16 and of generate are the same
  lora     the base's f32 GGUF with the adapter's GGUF has the logits of the merged f32 GGUF

The variable ROPE is merge's --rope for a base without an adapter. WINDOW is the length of the windows (512).
Prints a table; exits with 1 if something differs by more than the type's rounding.
Needs llama-cpp-python 0.3.36, gguf 0.19.0, numpy.
"""
import json
import os
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as low

binary, base, text_file = sys.argv[1:4]
adapter = sys.argv[4] if len(sys.argv) > 4 else None
kept = tempfile.TemporaryDirectory()  # removed at the end
place = kept.name
TYPES = ["f32", "f16", "bf16", "q8_0", "q4_0"]
# By which fraction a perplexity may differ from that of ppl on the unrounded model, and on the same
# file. llama.cpp rounds the activations to bf16 for bf16 weights, and to 8 bits for q8_0 and q4_0.
NEAR = {"f32": 2e-4, "f16": 1e-3, "bf16": 1e-2, "q8_0": 2e-2, "q4_0": 0.6}
SAME = {"f32": 2e-4, "f16": 1e-3, "bf16": 1e-2, "q8_0": 2e-2, "q4_0": 2e-2}
rope = ["--rope", os.environ["ROPE"]] if "ROPE" in os.environ else []
wrong = 0


def default_params(old=low.llama_model_default_params):
    params = old()
    params.use_extra_bufts = False  # no AMX: some virtual machines list it, but cannot run it
    return params


low.llama_model_default_params = llama_cpp.llama_model_default_params = default_params


def tool(name, *options, **more):
    return subprocess.run([os.path.join(binary, name), *map(str, options)], check=True,
                          stdout=subprocess.PIPE, **more).stdout


def say(ok, *words):
    global wrong
    wrong += not ok
    print("ok   " if ok else "WRONG", *words, flush=True)


def export(kind, dtype, name, with_adapter=True):
    path = os.path.join(place, name)
    ours = ["--adapter", adapter] if adapter and with_adapter else []
    tool("merge", "--quiet", "--base", base, *ours, *rope, "--to", kind, "--dtype", dtype, "-o", path)
    return path


def load(path, context, **more):
    return llama_cpp.Llama(path, n_ctx=context, n_batch=context, n_ubatch=context, logits_all=True,
                           verbose=False, n_threads=os.cpu_count(), flash_attn=False, type_k=0,
                           type_v=0, **more)


def logits(model, ids):
    model.reset()
    model.eval(ids)
    return np.array(model.scores[:len(ids)], dtype=np.float64)


def losses(model, ids):
    rows = logits(model, ids)[:-1]
    rows -= rows.max(axis=1, keepdims=True)
    return np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(ids) - 1), ids[1:]]


ours = (["--adapter", adapter] if adapter else []) + rope
ids = []
for line in tool("tokenize", "--quiet", "-m", base, "--format", "text", "--to", "jsonl",
                 text_file).splitlines():
    ids += json.loads(line).get("tokens", [])
files = {t: export("gguf", t, f"{t}.gguf") for t in TYPES}

# ---- bits and keys ----
wide = {t.name: t for t in gguf.GGUFReader(files["f32"]).tensors}
for t in TYPES:
    reader, different = gguf.GGUFReader(files[t]), []
    for tensor in reader.tensors:
        x = np.array(wide[tensor.name].data, dtype=np.float32)
        made = gguf.quants.quantize(x.reshape(-1, x.shape[-1]), tensor.tensor_type)
        if made.tobytes() != tensor.data.tobytes():
            different.append(tensor.name)
    say(not different, "bits", t, len(reader.tensors), "tensors", *different[:3])

keys = {f.name: f.contents() for f in gguf.GGUFReader(files["f16"]).fields.values()}
arch = keys["general.architecture"]
trained = keys[f"{arch}.context_length"]
context = min(int(os.environ.get("WINDOW", 512)), trained)
windows = [ids[i:i + context] for i in range(0, min(len(ids), 4 * context), context)]
windows = [w for w in windows if len(w) == context]

# ---- loading and tokens ----
model = load(files["f16"], context)
found = low.llama_model_n_ctx_train(model._model.model)
print("      positions:", arch, {k: v for k, v in keys.items() if ".rope." in k})
say(found == trained, "n_ctx_train", found)
scale = low.llama_model_rope_freq_scale_train(model._model.model)
say(abs(scale * keys.get(f"{arch}.rope.scaling.factor", 1) - 1) < 1e-6, "freq_scale_train", scale)
begins = keys.get("tokenizer.ggml.add_bos_token", False)
text = open(text_file, "rb").read()
theirs = model.tokenize(text, add_bos=begins, special=False)
mine = ids if theirs[:1] == ids[:1] else [keys["tokenizer.ggml.bos_token_id"]] * begins + ids
same = sum(a == b for a, b in zip(theirs, mine[:len(theirs)]))
say(same >= len(theirs) - 1 and abs(len(theirs) - len(mine)) <= 1, "tokens", same, "of", len(mine))

# ---- perplexity ----
def measured(path, options):
    """Returns ppl's perplexity of the windows. The protocol leaves out the last whole window and the rest, so more tokens follow."""
    part = os.path.join(place, "windows.u32")
    np.array(sum(windows, []) + ids[:context + 1], np.uint32).tofile(part)
    out = json.loads(tool("ppl", "--quiet", "-m", path, *options, "-d", part, "--from", "u32", "-c",
                          context, "--protocol", "longqlora", "--device", "cpu", "--to", "json"))
    assert out["scores"][0]["windows"] == len(windows)
    return out["scores"][0]["perplexity"]


def measured_there(path):
    model = load(path, context)
    return float(np.exp(np.mean([losses(model, w).mean() for w in windows])))


reference = measured(base, ours)
for t in TYPES:
    theirs = measured_there(files[t])
    of_file = measured(files[t], [])
    say(abs(theirs / reference - 1) < NEAR[t] and abs(theirs / of_file - 1) < SAME[t],
        f"ppl {t}: llama.cpp {theirs:.4f}, ppl on the file {of_file:.4f}, on the base {reference:.4f}")
    if t in ("q8_0", "q4_0"):
        values = os.path.join(place, "values.gguf")
        tool("merge", "--quiet", "--base", files[t], "--to", "gguf", "--dtype", "f32", "-o", values)
        theirs = measured_there(values)
        say(abs(theirs / of_file - 1) < SAME["f32"], f"ppl of {t}'s values in f32: llama.cpp {theirs:.4f}")

# ---- greedy ----
model = load(files["f16"], context)
start = windows[0][:context // 4]
made, at = [], list(start)
for _ in range(min(32, context // 2)):
    made.append(int(logits(model, at)[-1].argmax()))
    at.append(made[-1])
options = ["-m", files["f16"], "--temperature", "0", "--max-new-tokens", str(len(made)),
           "--device", "cpu", "--quiet"]
prompt = model.detokenize(start).decode("utf-8", "replace")
again = model.tokenize(prompt.encode(), add_bos=begins, special=False)
if again == start:
    out = tool("generate", *options, "-p", prompt)
    theirs = model.detokenize(made).strip()
    say(out.decode().strip().startswith(theirs.decode("utf-8", "replace")), "greedy", theirs[:60])
else:
    print("      greedy: the prompt does not come back as the same ids; choose another text")

# ---- the adapter alone ----
if adapter:
    lora = export("gguf-lora", "f32", "lora.gguf")
    plain = export("gguf", "f32", "base.gguf", with_adapter=False)
    more = {"rope_freq_base": keys[f"{arch}.rope.freq_base"]}  # another theta if the position scaling is NTK-aware
    kind = keys.get(f"{arch}.rope.scaling.type")
    if kind:
        more |= {"rope_scaling_type": {"linear": 1, "yarn": 2}[kind],
                 "rope_freq_scale": 1 / keys[f"{arch}.rope.scaling.factor"]}
    if kind == "yarn":
        more["yarn_orig_ctx"] = keys[f"{arch}.rope.scaling.original_context_length"]
    both = logits(load(plain, context, lora_path=lora, **more), windows[0])
    merged = logits(load(files["f32"], context), windows[0])
    away = np.abs(both - merged).max()
    say(away < 2e-3 * np.abs(merged).max(), "lora: logits differ by", away, "of", np.abs(merged).max())
sys.exit(wrong != 0)
