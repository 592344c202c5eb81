#!/usr/bin/env python3
"""gguf_files.py OUT - makes a small GGUF with a tensor of each type, and the expected values.

types.gguf      a llama of two layers, tied, whose tensors have all the types that are read
types.tsv       the tensors under transformers' names: rows, columns, CRC-32 of their f32 values, as
                gguf's quants.dequantize gives them, with q and k in transformers' order
CORPUS/…        with a second argument: small models for the fuzz target, with both tokenizers
llama3.gguf     the same sizes in f32, with rope_freqs.weight as the converter makes it
ids.tsv         texts (JSON strings) and their ids, as tokenizers gives them for types.gguf's
                vocabulary, merges and pre-tokenizer (smollm)
pre.tsv         names of tokenizer.ggml.pre, and the parts of a tokenizer.json (patterns.py) with the same meaning
Needs gguf 0.19.0, numpy, tokenizers 0.23.3.
"""
import json
import math
import sys
import zlib

import gguf
import numpy as np
import patterns
from gguf import GGMLQuantizationType as T
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

out = sys.argv[1]
rng = np.random.default_rng(28)
DIM, FFN, HEADS, KV, HEAD, LAYERS = 256, 32, 2, 1, 16, 2
MERGES = ["h e", "l l", "o Ġ", "he ll", "Ġ w", "Ġw o", "r l", "rl d", "Ġ Ġ", "1 2", "Ã ©"]


def byte_characters():
    own = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(256 + i) for i, b in enumerate(rest)}


special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
tokens = special + sorted(byte_characters().values()) + [m.replace(" ", "") for m in MERGES]
types = [3] * len(special) + [1] * (len(tokens) - len(special))
tokens += ["<tool>", "[PAD0]"]
types += [4, 5]
VOCAB = len(tokens)


def interleave(rows, heads):  # LlamaModel.permute
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def separate(rows, heads):  # its inverse
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def random_blocks(type, rows, cols):
    """Returns random bits, but with scales that are small finite numbers."""
    elements, size = gguf.GGML_QUANT_SIZES[type]
    raw = rng.integers(0, 256, (rows * cols // elements, size), dtype=np.uint8)
    scales = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
              T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}[type]
    for at in scales:
        half = rng.normal(0, 0.01, len(raw)).astype(np.float16)
        raw[:, at:at + 2] = half.view(np.uint8).reshape(-1, 2)
    return raw.reshape(rows, -1)


def tensor(type, rows, cols):
    """Returns the raw array and its f32 values, with rows in the file's order."""
    values = rng.normal(0, 0.1, (rows, cols)).astype(np.float32)
    if type == T.F32:
        return values, values
    if type == T.F16:
        return values.astype(np.float16), values.astype(np.float16).astype(np.float32)
    raw = gguf.quants.quantize(values, type) if type == T.BF16 else random_blocks(type, rows, cols)
    return raw, gguf.quants.dequantize(raw, type).astype(np.float32).reshape(rows, cols)


def common(w, vocab):
    w.add_context_length(64)
    w.add_embedding_length(DIM)
    w.add_feed_forward_length(FFN)
    w.add_block_count(LAYERS)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_key_length(HEAD)
    w.add_value_length(HEAD)
    w.add_rope_dimension_count(HEAD)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(vocab)


LINEARS = [("self_attn.q_proj", "attn_q", HEADS * HEAD, DIM), ("self_attn.k_proj", "attn_k", KV * HEAD, DIM),
           ("self_attn.v_proj", "attn_v", KV * HEAD, DIM), ("self_attn.o_proj", "attn_output", DIM, HEADS * HEAD),
           ("mlp.gate_proj", "ffn_gate", FFN, DIM), ("mlp.up_proj", "ffn_up", FFN, DIM),
           ("mlp.down_proj", "ffn_down", DIM, FFN)]
TYPES = [[T.Q4_K, T.F16, T.Q6_K, T.Q4_0, T.Q5_K, T.Q4_1, T.Q5_0], [T.Q8_0, T.Q5_1, T.BF16, T.F32, T.F16, T.Q6_K, T.Q8_0]]

w = gguf.GGUFWriter(f"{out}/types.gguf", "llama")
w.add_type("model")
common(w, VOCAB)
w.add_rope_freq_base(10000.0)
w.add_tokenizer_model("gpt2")
w.add_tokenizer_pre("smollm")
w.add_token_list(tokens)
w.add_token_types(types)
w.add_token_merges(MERGES)
w.add_bos_token_id(1)
w.add_eos_token_id(2)
w.add_add_bos_token(False)
w.add_chat_template("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
                    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
                    "{% endif %}")
rows = []


def put(name, hf, type, shape, heads=0):
    raw, values = tensor(type, *shape)
    if len(shape) == 2 and shape[1] == 1:
        raw, values = raw.reshape(-1), values.reshape(-1)
    w.add_tensor(name, raw, raw_dtype=None if type in (T.F32, T.F16) else type)
    if heads:
        values = separate(values, heads)
        assert (interleave(values, heads) == separate(interleave(interleave(values, heads), heads), heads)).all()
    rows.append((hf, *shape, zlib.crc32(np.ascontiguousarray(values).tobytes())))


put("token_embd.weight", "model.embed_tokens.weight", T.Q4_0, (VOCAB, DIM))
put("output_norm.weight", "model.norm.weight", T.F32, (DIM, 1))
for layer in range(LAYERS):
    put(f"blk.{layer}.attn_norm.weight", f"model.layers.{layer}.input_layernorm.weight", T.F32, (DIM, 1))
    put(f"blk.{layer}.ffn_norm.weight", f"model.layers.{layer}.post_attention_layernorm.weight", T.F32, (DIM, 1))
    for (hf, name, r, c), type in zip(LINEARS, TYPES[layer]):
        heads = {"attn_q": HEADS, "attn_k": KV}.get(name, 0)
        put(f"blk.{layer}.{name}.weight", f"model.layers.{layer}.{hf}.weight", type, (r, c), heads)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
with open(f"{out}/types.tsv", "w") as f:
    f.writelines(f"{name}\t{r}\t{c}\t{crc}\n" for name, r, c, crc in rows)

# llama3's position scaling: only the keys that are read for it. The tensors of the model are missing.
w = gguf.GGUFWriter(f"{out}/llama3.gguf", "llama")
common(w, 8)
w.add_rope_freq_base(500000.0)
w.add_tensor("token_embd.weight", np.zeros((8, DIM), np.float32))
freqs = np.float32(1) / np.float32(500000.0) ** (np.arange(0, HEAD, 2, dtype=np.float32) / np.float32(HEAD))
factor, low, high, old = 8.0, 1.0, 4.0, 8192
factors = []
for freq in freqs:
    length = 2 * math.pi / float(freq)
    smooth = (old / length - low) / (high - low)
    factors.append(1 if length < old / high else factor if length > old / low
                   else 1 / ((1 - smooth) / factor + smooth))
assert any(1 < f < factor for f in factors)
w.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

t = Tokenizer(models.BPE(vocab={k: i for i, k in enumerate(tokens) if types[i] != 5},
                         merges=[tuple(m.split(" ")) for m in MERGES]))
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                           pre_tokenizers.ByteLevel(add_prefix_space=False)])
t.add_tokens([AddedToken(k, normalized=False, special=y == 3) for k, y in zip(tokens, types) if y in (3, 4)])
t.encode_special_tokens = True
FAMILIES = {"gpt-2": "gpt-2", "smollm": "starcoder", "starcoder": "starcoder", "llama-bpe": "llama-3", "smaug-bpe": "llama-3",
            "qwen2": "qwen2", "qwen35": "qwen3.5", "gpt-4o": "o200k", "tekken": "tekken", "deepseek-llm": "deepseek-llm",
            "deepseek-coder": "deepseek-coder", "deepseek-v3": "deepseek-v3"}
with open(f"{out}/pre.tsv", "w") as f:
    for name, family in FAMILIES.items():
        parts = patterns.FAMILIES[family][1]
        f.write("\t".join([name, json.dumps(parts.get("normalizer")), json.dumps(parts["pre_tokenizer"]),
                           str(int(parts.get("model/ignore_merges", False) and name != "smaug-bpe"))]) + "\n")

TEXTS = ["hello world", " hello  world 1212", "é€ 日本語\n\n x", "<tool>hello<|im_end|> <tool", "[PAD0]", "12a12 12"]
with open(f"{out}/ids.tsv", "w") as f:
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=False).ids
        f.write(json.dumps(text) + "\t" + " ".join(map(str, ids)) + "\n")


def small(path, quantized, fill):
    """Makes a model with one layer, of a few KB."""
    w = gguf.GGUFWriter(path, "llama")
    dim, count = 32, fill(w)
    w.add_context_length(64)
    w.add_embedding_length(dim)
    w.add_feed_forward_length(dim)
    w.add_block_count(1)
    w.add_head_count(2)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-5)
    shapes = {"token_embd": count, "blk.0.attn_q": dim, "blk.0.attn_k": 16, "blk.0.attn_v": 16,
              "blk.0.attn_output": dim, "blk.0.ffn_gate": dim, "blk.0.ffn_up": dim, "blk.0.ffn_down": dim}
    for (name, count), type in zip(shapes.items(), quantized * 8):
        w.add_tensor(name + ".weight", random_blocks(type, count, dim), raw_dtype=type)
    for name in "output_norm", "blk.0.attn_norm", "blk.0.ffn_norm":
        w.add_tensor(name + ".weight", np.ones(dim, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def bytes_tokenizer(w):
    tokens = ["h", "e", "l", "o", "Ġ", "1", "2", "he", "ll", "<|end|>"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types([1] * 9 + [3])
    w.add_token_merges(["h e", "l l"])
    w.add_bos_token_id(9)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_orig_ctx_len(16)
    w.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    return len(tokens)


def pieces_tokenizer(w):
    tokens = ["<unk>", "<s>", "</s>", "h", "e", "l", "o", "▁", "he", "ll", "▁he", "<0x0A>", "<tool>", "[PAD]"]
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * 3 + [-float(i) for i in range(11)])
    w.add_token_types([2, 3, 3] + [1] * 8 + [6, 4, 5])
    w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    w.add_rope_scaling_factor(2.0)
    return len(tokens)


if len(sys.argv) > 2:
    small(f"{sys.argv[2]}/bytes", [T.Q4_0, T.Q4_1], bytes_tokenizer)
    small(f"{sys.argv[2]}/pieces", [T.Q8_0, T.Q5_0, T.Q5_1], pieces_tokenizer)
