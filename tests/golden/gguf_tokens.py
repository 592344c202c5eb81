#!/usr/bin/env python3
"""gguf_tokens.py BIN MODEL.gguf MEGABYTES llama.cpp|tokenizers - checks a GGUF's tokenizer, by hand.

Compares the ids that tokenize gives for MEGABYTES of the texts of patterns.py (every script, long
runs, Debian's own documents) with those of llama.cpp (llama-cpp-python 0.3.36), or with those of
tokenizers 0.23.3 for the vocabulary, the merges and the pre-tokenizer "smollm" of the file (gguf
0.19.0 reads them). Control characters and line ends stay as they are. Exits with 1 if one differs.
"""
import json
import subprocess
import sys
import tempfile

import patterns

binary, path, megabytes, kind = sys.argv[1:5]


def of_llamacpp():
    from llama_cpp import Llama

    model = Llama(path, vocab_only=True, verbose=False)
    return lambda text: model.tokenize(text.encode(), add_bos=False, special=False)


def of_tokenizers():
    import gguf
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    keys = {f.name: f.contents() for f in gguf.GGUFReader(path).fields.values() if f.name.startswith("tokenizer.ggml.")}
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert keys["tokenizer.ggml.pre"] == "smollm"
    merges = [tuple(m.split(" ")) for m in keys["tokenizer.ggml.merges"]]
    t = Tokenizer(models.BPE(vocab={k: i for i, k in enumerate(tokens) if types[i] != 5}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_tokens([AddedToken(k, normalized=False, special=y == 3) for k, y in zip(tokens, types) if y in (3, 4)])
    t.encode_special_tokens = True
    return lambda text: t.encode(text, add_special_tokens=False).ids


theirs = of_llamacpp() if kind == "llama.cpp" else of_tokenizers()
texts = list(patterns.texts(int(float(megabytes) * 1e6)))
with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    file.flush()
    out = subprocess.run([f"{binary}/tokenize", "--quiet", "-m", path, "--to", "jsonl", file.name], check=True,
                         stdout=subprocess.PIPE).stdout
ours = [j["tokens"] for j in map(json.loads, out.decode().splitlines()) if isinstance(j.get("tokens"), list)]
assert len(ours) == len(texts), (len(ours), len(texts))
count = different = 0
for text, ids in zip(texts, ours):
    wanted = list(theirs(text))
    count += len(wanted)
    if ids == wanted:
        continue
    different += 1
    at = next((i for i, (a, b) in enumerate(zip(ids, wanted)) if a != b), min(len(ids), len(wanted)))
    if different <= 10:
        print(f"WRONG at token {at}: ours {ids[at:at + 6]}, {kind}'s {wanted[at:at + 6]}: {text[:80]!r}")
print(f"{sum(len(t.encode()) for t in texts)} bytes, {len(texts)} texts, {count} tokens; {different} texts differ from {kind}")
sys.exit(different > 0)
