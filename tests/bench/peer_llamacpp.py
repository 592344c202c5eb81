#!/usr/bin/env python3
"""Measures the decoding speed of llama.cpp on a model of random weights.

usage: peer_llamacpp.py CONFIG OUT.gguf TOKENS THREADS       (llama-cpp-python, gguf, numpy)

Writes a GGUF with the shape of CONFIG, linear layers in Q4_0 and head in F16, decodes TOKENS tokens three
times and prints the best rate and the bytes that one token reads.
"""
import json
import sys
import time

import gguf
import numpy as np
from llama_cpp import Llama

config, path, tokens, threads = json.load(open(sys.argv[1])), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
d, f, layers, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"))
rng = np.random.default_rng(1)
read = 0
w = gguf.GGUFWriter(path, "llama")
w.add_context_length(4096)
w.add_embedding_length(d)
w.add_block_count(layers)
w.add_feed_forward_length(f)
w.add_head_count(config["num_attention_heads"])
w.add_head_count_kv(config["num_key_value_heads"])
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


def q4(name, rows, cols):
    global read
    block = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])
    data = np.zeros((rows, cols // 32), block)
    data["scale"] = 0.005
    data["codes"] = rng.integers(0, 256, (rows, cols // 32, 16), dtype=np.uint8)
    raw = data.view(np.uint8).reshape(rows, -1)
    read += raw.nbytes
    w.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.Q4_0)


def half(name, rows, cols):
    w.add_tensor(name, (rng.standard_normal((rows, cols), dtype=np.float32) * 0.02).astype(np.float16))


half("token_embd.weight", vocab, d)
half("output.weight", vocab, d)
read += 2 * vocab * d
w.add_tensor("output_norm.weight", np.ones(d, np.float32))
for i in range(layers):
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        q4(f"blk.{i}.{name}.weight", d, d)
    q4(f"blk.{i}.ffn_gate.weight", f, d)
    q4(f"blk.{i}.ffn_up.weight", f, d)
    q4(f"blk.{i}.ffn_down.weight", d, f)
    for name in ("attn_norm", "ffn_norm"):
        w.add_tensor(f"blk.{i}.{name}.weight", np.ones(d, np.float32))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

model = Llama(path, n_ctx=512, n_threads=threads, verbose=False)
best = 0.0
for _ in range(3):
    model.reset()
    model.eval([1, 300, 301])
    start = time.perf_counter()
    for i in range(tokens):
        model.eval([302 + i])
    best = max(best, tokens / (time.perf_counter() - start))
print(best, read)
