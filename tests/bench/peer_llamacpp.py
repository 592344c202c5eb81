#!/usr/bin/env python3
"""Measures the speed of llama.cpp on a model of random weights.

usage: peer_llamacpp.py CONFIG MODEL.gguf text|prompt TOKENS THREADS         (llama-cpp-python, gguf, numpy)

Writes a GGUF with the shape of CONFIG, linear layers in Q4_0 and head in F16, if it is not there yet. Then it reads a prompt
of TOKENS tokens, or decodes TOKENS tokens one at a time (text). Prints the tokens a second, and the bytes of the weights that
one token of text reads.
"""
import json
import os
import sys
import time

import gguf
import numpy as np
from llama_cpp import Llama

config, path, what = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
tokens, threads = int(sys.argv[4]), int(sys.argv[5])
width, hidden, layers, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"))
heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
key_width = width // heads * key_heads
SHAPES = {"attn_q": (width, width), "attn_k": (key_width, width), "attn_v": (key_width, width), "attn_output": (width, width),
          "ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
Q4_0 = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])  # 32 weights


def write():
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(path + ".tmp", "llama")
    w.add_context_length(4096)
    w.add_embedding_length(width)
    w.add_block_count(layers)
    w.add_feed_forward_length(hidden)
    w.add_head_count(heads)
    w.add_head_count_kv(key_heads)
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_vocab_size(vocab)
    w.add_tokenizer_model("llama")
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    w.add_token_list(pieces + [f"w{i}" for i in range(vocab - len(pieces))])
    w.add_token_scores([0.0] * vocab)
    w.add_token_types(kinds + [1] * (vocab - len(kinds)))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    for name in ["token_embd"] if config["tie_word_embeddings"] else ["token_embd", "output"]:
        w.add_tensor(f"{name}.weight", (rng.standard_normal((vocab, width), dtype=np.float32) * 0.02).astype(np.float16))
    w.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for i in range(layers):
        for name, (rows, cols) in SHAPES.items():
            data = np.zeros((rows, cols // 32), Q4_0)
            data["scale"] = 0.005
            data["codes"] = rng.integers(0, 256, (rows, cols // 32, 16), dtype=np.uint8)
            w.add_tensor(f"blk.{i}.{name}.weight", data.view(np.uint8).reshape(rows, -1),
                         raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", np.ones(width, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.rename(path + ".tmp", path)


if not os.path.exists(path):
    write()
model = Llama(path, n_ctx=tokens + 512, n_batch=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
ids = [300 + i % 1000 for i in range(tokens)]
for _ in range(2):  # the first round uses new memory
    model.reset()
    model.eval([1, 298, 299])
    start = time.perf_counter()
    for part in [ids] if what == "prompt" else [[i] for i in ids]:
        model.eval(part)
    seconds = time.perf_counter() - start
read = sum(rows * cols // 32 * Q4_0.itemsize for rows, cols in SHAPES.values()) * layers + 2 * vocab * width
print(f"{tokens / seconds:.2f} {read}")
