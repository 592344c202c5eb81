"""Adds tokens to tokenizers with many kinds of files, and lists the ids that transformers then gives.

    python grown_tokenizer.py tests/golden/tokenizer bin      (transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3)

Writes DIR/grown, a line for each case: "base" (a file of DIR, and changes of its keys), the "files" beside it, "tokens" and
"special" (the added tokens), "texts", and the "ids" of each. The ids are those of AutoTokenizer after add_tokens and
add_special_tokens. The program `tokenize` of BIN adds the same tokens. The script fails unless AutoTokenizer gives the same
ids with the files of `tokenize`, for ordinary and special tokens, and also after its own save_pretrained.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from patterns import FAMILIES
from transformers import AutoTokenizer

# No text begins with a space, because SentencePiece and transformers 5 differ there even without added tokens.
TEXTS = ["", "a", "Hello, world!", "<new>", "a <new> b", "x<|im_start|>user\nto do<|im_end|>\n", "the tool to<think> 12\n\n</think>", "a\"q\\b", "é<|é|>é <new><new>",
         "<s>a</s>", "<|im_start|><new>the", "new<pad>", "b  <|im_end|>c", "<|im_start|", "<ne<new>w>"]
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "legacy": False}
BIG = {"model_max_length": 1000000000000000019884624838656}
NAMED = [{"content": c, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} for c in ("<unk>", "<s>", "</s>")]
DECODER = {str(i): t for i, t in enumerate(NAMED)}
PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}
MAP = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
BYTES_420 = {"420": {"content": "<|endoftext|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}}

# changes of keys in a base's tokenizer.json
ENDS = {"added_tokens": [{"id": 420} | BYTES_420["420"]]}
QWEN = FAMILIES["qwen2"][1] | ENDS


def cases():
    new, chat = ["<new>", "to"], ["<|im_start|>", "<|im_end|>"]
    odd = ["<|é|>", "\"q\\"]
    config = "tokenizer_config.json"
    for tokens, special in ((new, chat), ([], odd), (["<think>", "</think>"], [])):
        yield ["bytes.json"], {}, tokens, special
        yield ["bytes.json"], {config: PLAIN}, tokens, special
        yield ["bytes.json"], {config: PLAIN | {"added_tokens_decoder": BYTES_420, "pad_token": "<|endoftext|>"}}, tokens, special
        yield ["bytes.json"], {config: PLAIN | {"extra_special_tokens": ["<|x|>"]}}, tokens, special
        yield ["bytes.json"], {config: PLAIN, "special_tokens_map.json": {"additional_special_tokens": ["<|y|>"], "pad_token": "<pad>"}}, tokens, special
        yield ["bytes.json", ENDS], {config: {"tokenizer_class": "GPT2Tokenizer"}}, tokens, special
        yield ["bytes.json", ENDS], {config: {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": BYTES_420, "additional_special_tokens": []}}, tokens, special
        yield ["bytes.json", QWEN], {config: {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>"}}, tokens, special
        yield ["bytes.json", QWEN], {config: {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": [], "added_tokens_decoder": BYTES_420}}, tokens, special
        yield ["chars.json"], {config: {"tokenizer_class": "TokenizersBackend", "bos_token": "<s>", "extra_special_tokens": []}}, tokens, special
        yield ["spm.model"], {config: LLAMA | BIG}, tokens, special
        yield ["spm.model"], {config: LLAMA | {"added_tokens_decoder": DECODER}}, tokens, special
        yield ["spm.model"], {config: LLAMA | {"additional_special_tokens": ["<|x|>"]}, "added_tokens.json": {"<|x|>": 400, "<y>": 401}}, tokens, special
        yield ["spm.model"], {config: LLAMA | {"pad_token": "<pad>"}, "special_tokens_map.json": MAP | {"pad_token": "<pad>"}, "added_tokens.json": {"<pad>": 400}}, tokens, special
    yield ["spm.model"], {config: LLAMA}, ["▁a", "a"], ["</s>"]
    yield ["bytes.json"], {config: PLAIN | {"added_tokens_decoder": BYTES_420}}, [], ["<|endoftext|>", "<|im_start|>"]


def make(folder, dir, bases, files):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    base, *added = bases
    with open(f"{folder}/tokenizer.{'model' if base.endswith('.model') else 'json'}", "wb") as f:
        data = open(f"{dir}/{base}", "rb").read()
        f.write(json.dumps(json.loads(data) | added[0]).encode() if added else data)
    for name, value in files.items():
        with open(f"{folder}/{name}", "w") as f:
            json.dump(value, f, ensure_ascii=False)


def ids_of(tokenizer):
    return [tokenizer(t, add_special_tokens=False).input_ids for t in TEXTS]


def kinds_of(tokenizer):
    return {str(t): (i, t.special, t.normalized, t.lstrip, t.rstrip, t.single_word) for i, t in tokenizer.added_tokens_decoder.items()}


def run(dir, bin):
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for n, (bases, files, tokens, special) in enumerate(cases()):
            old, new = f"{scratch}/{n}", f"{scratch}/{n}.new"
            make(old, dir, bases, files)
            own = AutoTokenizer.from_pretrained(old)
            own.add_tokens(tokens)
            if special:  # the new names are added to the existing ones
                own.add_special_tokens({"additional_special_tokens": special}, replace_extra_special_tokens=False)
            options = [o for t in tokens for o in ("--add-token", t)] + [o for t in special for o in ("--add-special-token", t)]
            subprocess.run([f"{bin}/tokenize", "--quiet", "--model", old, *options, "--save-tokenizer", new], check=True)
            made = sorted(os.listdir(new))
            ours = AutoTokenizer.from_pretrained(new)
            ours.save_pretrained(f"{new}.again")
            again = AutoTokenizer.from_pretrained(f"{new}.again")
            for other in (ours, again):
                assert len(own) == len(other), (n, len(own), len(other))
                assert kinds_of(own) == kinds_of(other), (n, kinds_of(own), kinds_of(other))
                assert ids_of(own) == ids_of(other), (n, bases, files)
            assert set(special) <= set(ours.all_special_tokens), (n, ours.all_special_tokens)
            lines.append({"base": bases, "files": files, "tokens": tokens, "special": special, "made": made, "ids": ids_of(own)})
    with open(f"{dir}/grown", "w") as f:
        print(json.dumps({"texts": TEXTS}, ensure_ascii=False), file=f)
        for line in lines:
            print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), file=f)
    print(len(lines), "cases")


run(*sys.argv[1:])
