#!/usr/bin/env python3
"""Lists what llama.cpp's converter needs in a LLaMA's directory, for tests/lib/check_llamacpp.pl.

usage: llamacpp_list.py MODEL_DIR LLAMACPP_DIR > llamacpp-list.json      (environment: see README.md)

Runs LLAMACPP_DIR/convert_hf_to_gguf.py on a merged directory, and records which keys of config.json it looks up, which
files it opens, and which tensors it reads. In the list, layer numbers are written as {layer}, and dimensions as the keys of
config.json from which they are computed.
"""
import builtins
import json
import os
import sys
import tempfile

model, llamacpp = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
config = json.load(open(f"{model}/config.json"))
sys.path[:0] = [llamacpp, f"{llamacpp}/gguf-py"]
import convert_hf_to_gguf as converter  # noqa: E402

asked, opened, tensors = set(), set(), {}


class Watched(dict):
    def __getitem__(self, key):
        asked.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        asked.add(key)
        return super().get(key, default)

    def __contains__(self, key):
        asked.add(key)
        return super().__contains__(key)


load = converter.ModelBase.load_hparams
converter.ModelBase.load_hparams = staticmethod(lambda *a, **k: Watched(load(*a, **k)))
get = converter.LlamaModel.get_tensors


def watched_tensors(self):
    for name, tensor in get(self):
        tensors[name] = list(tensor.shape)
        yield name, tensor


converter.LlamaModel.get_tensors = watched_tensors
plain_open = builtins.open


def watched_open(file, *a, **k):
    if isinstance(file, (str, os.PathLike)) and os.path.dirname(os.path.abspath(file)) == model:
        opened.add(os.path.basename(file))
    return plain_open(file, *a, **k)


builtins.open = watched_open
with tempfile.TemporaryDirectory() as out:
    sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", f"{out}/m.gguf", "--outtype", "f16"]
    converter.main()
    sys.path.insert(0, f"{llamacpp}/gguf-py")
    from gguf import GGUFReader
    fields = {}
    for name, f in GGUFReader(f"{out}/m.gguf").fields.items():
        if name.startswith("llama."):
            fields[name] = f.contents()
builtins.open = plain_open

head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
sizes = {config["vocab_size"]: "vocab_size", config["hidden_size"]: "hidden_size", config["intermediate_size"]: "intermediate_size",
         config["num_key_value_heads"] * head_dim: "num_key_value_heads*head_dim"}
assert len(sizes) == 4, "a model whose dimensions differ is needed"
general = {}
for name, shape in tensors.items():
    parts = name.split(".")
    if parts[1] == "layers":
        parts[2] = "{layer}"
    dims = [sizes[n] for n in shape]
    if parts[-2] == "q_proj":
        dims[0] = "num_attention_heads*head_dim"
    if parts[-2] == "o_proj":
        dims[1] = "num_attention_heads*head_dim"
    general[".".join(parts)] = dims
json.dump({"config": sorted(k for k in asked if k in config), "files": sorted(n for n in opened if n.startswith("tokenizer") or n == "config.json"),
           "tensors": general, "gguf": fields}, sys.stdout, indent=1)
print()
