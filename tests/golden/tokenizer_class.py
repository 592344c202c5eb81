"""Lists how transformers changes a tokenizer.json because of the tokenizer_class in tokenizer_config.json.

    python tokenizer_class.py tests/golden/tokenizer-class      (transformers 5.24.0, tokenizers 0.23.3, torch)

classes: classes that do not read a tokenizer.json unchanged.
types: types of models for which AutoTokenizer reads the file unchanged, whatever class is named.
cases: a line for each case: "file" (a key of FILES), "config" (tokenizer_config.json), "type" (model_type of config.json; null: there is no such file).
    "same" says whether AutoTokenizer and the tokenizers library give the same ids for all of TEXTS. null: AutoTokenizer raises an exception, whose first
    words are "error". "ids" has the library's ids, where the files beside tokenizer.json are read as by TokenizersBackend.
"""
import copy
import json
import os
import sys
import tempfile
import zlib

import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, TokenizersBackend
from transformers.models.auto import tokenization_auto as auto

TEXTS = ["", " ", "a", "Hello there", " leading", "  two  spaces 12 345  6", "trailing  ", "x<s>y</s> z", "<|endoftext|>a", "it's a test\n\n  word", "caf\u00e9 e\u0301 \u212b \u0958", "\u4f60\u597d, 1234567",
         "the\u00a0of \u3000and", "don't DON'T we'LL", "\u2581a \u2581b", "a_b-c...!?", "\t\ttabs\r\n", "\U0001f600 \ufb01", "<think> b</think>c", "n\u0303o \u0e33\u0303"]
FAST = ["GPT2Tokenizer", "GPT2TokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "Qwen2Tokenizer", "Qwen3_5Tokenizer", "GPTNeoXTokenizer", "CohereTokenizer",
        "GemmaTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "RobertaTokenizer", "WhisperTokenizer", "MyTokenizer", None]


def files(directory):
    golden = f"{directory}/../tokenizer"
    with open(f"{golden}/bytes.json", encoding="utf-8") as f:
        data = json.load(f)
    with open(f"{golden}/chars.json", encoding="utf-8") as f:
        chars = json.load(f)

    def step(kind, **options):
        return {"type": kind, **options}

    def byte_level(prefix=False, regex=True):
        return step("ByteLevel", add_prefix_space=prefix, trim_offsets=True, use_regex=regex)

    def qwen(pattern):
        return step("Sequence", pretokenizers=[step("Split", pattern={"Regex": pattern}, behavior="Isolated", invert=False), byte_level(regex=False)])

    def with_tokens(base, *names):
        j = copy.deepcopy(base)
        size = len(j["model"]["vocab"])
        for name in names:
            known = j["model"]["vocab"].get(name)
            j["added_tokens"].append({"id": size if known is None else known, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True})
            size += known is None
        return j

    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as qwen2
    from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as qwen3_5
    digits = step("Sequence", pretokenizers=[step("Digits", individual_digits=True), byte_level()])
    named = with_tokens(data, "<|endoftext|>")
    nfc = step("NFC")
    metaspace = {"normalizer": None}
    out = {
        "gpt2": {**named, "pre_tokenizer": byte_level()},
        "gpt2-prefix": {**named, "pre_tokenizer": byte_level(True)},
        "gpt2-bare": {**data, "pre_tokenizer": byte_level()},
        "smollm": {**named, "pre_tokenizer": digits},
        "neox": {**with_tokens(data, "<|endoftext|>", "<|padding|>"), "normalizer": nfc, "pre_tokenizer": byte_level()},
        "qwen2": {**named, "normalizer": nfc, "pre_tokenizer": qwen(qwen2)},
        "qwen2-plain": {**named, "pre_tokenizer": qwen(qwen2)},
        "qwen3.5": {**named, "normalizer": nfc, "pre_tokenizer": qwen(qwen3_5)},
        "ignores": {**named, "pre_tokenizer": byte_level(), "model": {**data["model"], "ignore_merges": True}},
        "llama2": chars,
        "llama2-nothing": {**chars, "normalizer": step("Replace", pattern={"String": " "}, content="\u2581")},
        "gemma": {**with_tokens(chars, "<bos>", "<eos>", "<pad>", "<mask>"), "normalizer": step("Replace", pattern={"String": " "}, content="\u2581"),
                  "pre_tokenizer": step("Split", pattern={"String": " "}, behavior="MergedWithPrevious", invert=False)},
    }
    for scheme in ("first", "always", "never"):
        out[f"metaspace-{scheme}"] = {**chars, **metaspace, "pre_tokenizer": step("Metaspace", replacement="\u2581", prepend_scheme=scheme, split=False)}
    out["metaspace-split"] = {**chars, **metaspace, "pre_tokenizer": step("Metaspace", replacement="\u2581", prepend_scheme="first", split=True)}
    return out


def special(name):
    return {"content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def cases(all_files):
    for name in all_files:
        is_bytes = '"ByteLevel"' in json.dumps(all_files[name])
        names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"} if is_bytes else {
            "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        for kind in FAST:
            base = {"tokenizer_class": kind} if kind else {}
            yield name, {**base, **names}, "llama"
            if kind in ("GPT2Tokenizer", "LlamaTokenizer", "Qwen2Tokenizer", "CodeLlamaTokenizer", "GPTNeoXTokenizer", "PreTrainedTokenizerFast"):
                for prefix in (False, True):
                    yield name, {**base, **names, "add_prefix_space": prefix}, "llama"
            if kind == "LlamaTokenizer":
                yield name, {**base, **names, "legacy": True}, "llama"
                yield name, {**base, **names, "legacy": False}, "llama"
                yield name, {**base, **names, "legacy": True, "add_prefix_space": True}, "llama"
                yield name, {**base, **names, "added_tokens_decoder": {"0": special("<unk>"), "1": special("<s>")}} if not is_bytes else {**base, **names, "legacy": None}, "llama"
                yield name, {**base, **names}, "mistral"
                yield name, {**base, **names, "add_prefix_space": False}, "mistral"
                yield name, base, "llama"
            if kind in ("LlamaTokenizerFast", "GPT2Tokenizer", None):
                yield name, {**base, **names}, "qwen2"
                yield name, {**base, **names}, "qwen3"
                yield name, {**base, **names}, "phi3"
                yield name, {**base, **names}, "gemma3_text"
                yield name, {**base, **names, "pad_token": "<pad>"}, "llama"


def write(place, name, value):
    with open(f"{place}/{name}", "w", encoding="utf-8") as f:
        json.dump(value, f)


def ids_of(t):
    return [t(x, add_special_tokens=False)["input_ids"] for x in TEXTS]


def crc(ids):
    import struct
    flat = [i for line in ids for i in (len(line), *line)]
    return f"{zlib.crc32(struct.pack(f'<{len(flat)}I', *flat)):08x}"


def run(file, config, model_type):
    with tempfile.TemporaryDirectory() as place:
        write(place, "tokenizer.json", file)
        write(place, "tokenizer_config.json", {**config, "tokenizer_class": "TokenizersBackend"})
        own = ids_of(TokenizersBackend.from_pretrained(place))
        write(place, "tokenizer_config.json", config)
        if model_type:
            write(place, "config.json", {"model_type": model_type})
        try:
            other = ids_of(AutoTokenizer.from_pretrained(place))
        except Exception as e:
            return {"same": None, "ids": crc(own), "error": f"{type(e).__name__}: {str(e)[:60]}"}
        return {"same": own == other, "ids": crc(own)}


def class_names():
    names = {v for v in auto.TOKENIZER_MAPPING_NAMES.values() if v} | {n for n in dir(transformers) if n.endswith("Tokenizer") and not n.startswith("_")}
    for name in sorted(names):
        cls = auto.tokenizer_class_from_name(name.removesuffix("Fast"))
        if not isinstance(cls, type):
            continue
        reads = issubclass(cls, TokenizersBackend) and (cls is TokenizersBackend or "__init__" not in cls.__dict__) or cls.__name__ == "PythonBackend"
        if not reads:
            yield name.removesuffix("Fast")


def main(directory):
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/classes", "w", encoding="utf-8") as f:
        f.writelines(name + "\n" for name in sorted(set(class_names())))
    with open(f"{directory}/types", "w", encoding="utf-8") as f:
        for kind, name in sorted(auto.TOKENIZER_MAPPING_NAMES.items()):
            if name in ("TokenizersBackend", "MistralCommonBackend"):
                f.write(kind + "\n")
    all_files = files(directory)
    with open(f"{directory}/files", "w", encoding="utf-8") as f:
        for name, file in all_files.items():
            small = {k: v for k, v in file.items() if k in ("normalizer", "pre_tokenizer", "added_tokens")}
            f.write(json.dumps({"name": name, "base": "bytes" if '"ByteLevel"' in json.dumps(file) else "chars",
                                "set": {**small, **({"model/ignore_merges": True} if file["model"].get("ignore_merges") else {})}}) + "\n")
    with open(f"{directory}/texts", "w", encoding="utf-8") as f:
        f.writelines(json.dumps(x) + "\n" for x in TEXTS)
    with open(f"{directory}/cases", "w", encoding="utf-8") as f:
        for name, config, kind in cases(all_files):
            f.write(json.dumps({"file": name, "config": config, "type": kind, **run(all_files[name], config, kind)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
