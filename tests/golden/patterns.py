"""The tokenizers of the model families: their parts, and a comparison of ids and speed by hand.

    python patterns.py ../../bin/tokenize MEGABYTES [FAMILY ...]      (tokenizers 0.23.3; Debian's translations and documents as text)

For each family a vocabulary of 8000 pieces is trained with exactly its normalizer, pre_tokenizer, post_processor and model options. The ids of MEGABYTES
of text in every script are compared, with special tokens as text and parsed. Then the speed of one thread is measured, per second of its CPU time.
tokenizer.py also uses FAMILIES: tokenizer/cases has a small case of each.
"""
import glob
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{REST}"
QWEN3_5 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{REST}"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s|\p{{N}}%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = CASED % (f"{CONTRACTIONS}?", f"{CONTRACTIONS}?", "{1,3}")
TEKKEN = CASED % ("", "", "")
CJK = "[一-龥぀-ゟ゠-ヿ]+"
DEEPSEEK_V3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
DEEPSEEK_LETTERS = ("\\s?[A-Za-z"
                    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386"
                    "\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-"
                    "\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"
                    "\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-"
                    "\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
                    "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-"
                    "\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-"
                    "\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+")


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def cut_by(pattern, behavior="Isolated", invert=False):
    return {"pre_tokenizer": sequence(split(pattern, behavior, invert), byte_level(False))}


DIGITS = {"type": "Digits", "individual_digits": True}
NFC = {"normalizer": {"type": "NFC"}}
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
# The parts of the models' tokenizer.json files. "bytes" and "chars" are the bases of tokenizer.py.
FAMILIES = {
    "qwen2": ("bytes", {**NFC, **cut_by(QWEN2)}),  # Qwen2, 2.5, 3
    "qwen3.5": ("bytes", {**NFC, **cut_by(QWEN3_5)}),
    "llama-3": ("bytes", {**cut_by(LLAMA3), "model/ignore_merges": True}),  # 3.1 to 3.3, R1-Distill-Llama, SmolLM3
    "o200k": ("bytes", cut_by(O200K, "Removed", True)),  # Phi-4-mini, GPT-4o
    "tekken": ("bytes", {**cut_by(TEKKEN), "model/ignore_merges": True}),  # Mistral Nemo, Small, Ministral 3
    "deepseek-v3": ("bytes", {"pre_tokenizer": sequence(split(r"\p{N}{1,3}"), split(CJK), split(DEEPSEEK_V3), byte_level(False))}),
    "deepseek-llm": ("bytes", {"pre_tokenizer": sequence(split("[\r\n]"), split(DEEPSEEK_LETTERS), split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"), split("\\s+$"),
                                                        split("[一-龥ࠀ-一가-퟿]+"), DIGITS, byte_level(False))}),
    "deepseek-coder": ("bytes", {"pre_tokenizer": sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), DIGITS,
                                                          byte_level(False))}),
    "starcoder": ("bytes", {"pre_tokenizer": sequence(DIGITS, byte_level(True))}),  # StarCoder, SmolLM, SmolLM2, Granite 3
    "phi-4": ("bytes", cut_by(LLAMA3, "Removed", True)),  # Phi-4, Granite 4, OLMo 2: cl100k
    "gpt-2": ("bytes", {"pre_tokenizer": byte_level(True)}),
    "phi-3": ("chars", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, SPACES]}, "pre_tokenizer": None}),
    "gemma": ("chars", {"normalizer": SPACES, "pre_tokenizer": split(" ", "MergedWithPrevious", kind="String")}),
}
# Added tokens that are found in any text: Gemma's newlines and spaces, and the marks of Qwen3 and Phi-3. Phi-3's marks also take the white space after them.
PLAIN = {"gemma": ["\n" * n for n in range(1, 32)] + ["▁" * n for n in range(2, 32)] + ["<table>", "</td>"], "qwen2": ["<think>", "</think>"]}
SPECIAL = {"phi-3": [("<|end|>", {"rstrip": True}), ("<|user|>", {"rstrip": True})], "qwen2": [("<|im_start|>", {}), ("<|im_end|>", {})]}


# ---- text ----

def translations():
    """Returns the strings of Debian's translations, language by language."""
    for path in sorted(glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo")):
        with open(path, "rb") as f:
            data = f.read()
        order = "little" if data[:4] == b"\xde\x12\x04\x95" else "big"
        count, at = (int.from_bytes(data[i:i + 4], order) for i in (8, 16))
        for i in range(count):
            size, start = (int.from_bytes(data[at + 8 * i + k:at + 8 * i + k + 4], order) for k in (0, 4))
            yield data[start:start + size].decode("utf-8", "replace").replace("\0", "\n")


def documents():
    for path in sorted(glob.glob("/usr/share/doc/*/*.gz") + glob.glob("/usr/share/perl/5.*/pod/*.pod") + glob.glob("/usr/include/*.h") + glob.glob("/usr/lib/python3*/*.py")):
        try:
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
                yield f.read(40000).decode("utf-8", "replace").replace("\0", "")
        except OSError:
            pass


def pieces_of(texts, draw):
    held = ""
    for text in texts:
        held += text + draw.choice(["\n", " ", "\n\n", "\t"])
        if len(held) > draw.randrange(200, 4000):
            yield held
            held = ""


def scripts(draw):
    """Returns words from one block of 128 characters, with marks in any order, emoji, control characters, and characters of other blocks."""
    starts = [c for c in range(0, 0x32400, 0x80) if not 0xD800 <= c < 0xE000] + list(range(0xE0000, 0xE0200, 0x80)) + [0x10FF80]
    emoji = ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f600", "1\ufe0f\u20e3"]
    while True:
        first = draw.choice(starts)
        out = []
        for _ in range(draw.randrange(5, 200)):
            kind = draw.randrange(20)
            if kind < 12:
                out.append("".join(chr(first + draw.randrange(0x80)) for _ in range(draw.randrange(1, 9))))
            elif kind < 14:
                out.append(draw.choice("aeioukK\u1100") + "".join(chr(draw.choice([draw.randrange(0x300, 0x370), draw.randrange(0x1161, 0x1176), 0x5b0, 0x93c, 0x3099])) for _ in range(draw.randrange(1, 5))))
            elif kind < 15:
                out.append(draw.choice(emoji))
            elif kind < 16:
                out.append(chr(draw.choice([c for c in range(1, 0xa0) if not 0x20 <= c < 0x7f] + [0xad, 0x200b, 0x200e, 0x2028, 0x85, 0xfeff, 0xfffd, 0xffff, 0xfdd0])))
            elif kind < 17:
                out.append(draw.choice(["don't", "I'LL", "we'Ve", "x'S", "12345", "3.14159", "٣٤٥", "a1b2", "camelCase", "HTTPServer", "//", "/**/\n", "...", "\r\n\r\n", "\n\n\n", " \n ", "<think>",
                                        "</think>", "<|im_end|>", "<|end|>", "<table>", "▁", "▁▁ ", "ǅungla", "ſs", "ﬁ", "İi"]))
            else:
                out.append(chr(draw.choice([draw.randrange(0x21, 0xd800), draw.randrange(0xe000, 0x20000)])))
            out.append(draw.choice(["", "", " ", " ", "  ", "\u3000", "\n", "\t", "\u00a0"]))
        yield "".join(out)


def runs(draw):
    """Returns very long runs of one character or piece."""
    units = [" ", "\n", "\t", "a", "A", "aA", "1", "-", "é", "e\u0301", "\u0301", "中", "あ", "가", " a", "\r\n", "\U0001f600", "'s", "/", "▁", "=", "\u200d", "ก", "ा", "Aa1 "]
    while True:
        yield "".join(draw.choice(units) * draw.choice([1, 2, 33, 127, 129, 1000, 5000]) for _ in range(draw.randrange(1, 6)))


def texts(size, seed=7):
    """Mixes three parts of Debian's own texts, two parts of scripts, and a few runs."""
    draw = random.Random(seed)

    def forever(make):
        while True:
            yield from pieces_of(make(), draw)

    ours = list(pieces_of(translations(), draw))
    draw.shuffle(ours)
    sources = [iter(ours), forever(documents), scripts(draw), runs(draw)]
    weights = [5, 3, 8, 0.4]
    used = 0
    while used < size:
        text = next(draw.choices(sources, weights)[0], None)
        if text is None:
            sources[0] = iter(ours)
            continue
        used += len(text.encode())
        yield text


# ---- tokenizers ----

def added(name, vocab):
    """Gives ids to added tokens. A token that is a piece keeps the piece's id; the others follow."""
    tokens = [(x, {}) for x in PLAIN.get(name, [])] + [(x, {"special": True, **flags}) for x, flags in SPECIAL.get(name, [])]
    ids = {x: vocab[x] for x, _ in tokens if x in vocab}
    ids |= {x: len(vocab) + i for i, x in enumerate(x for x, _ in tokens if x not in vocab)}
    return [{"id": ids[x], "content": x, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags} for x, flags in tokens]


def train(name, corpus, size):
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    base, changes = FAMILIES[name]
    parts = {k: v for k, v in changes.items() if not k.startswith("model/")}
    model = {"type": "BPE", "vocab": {}, "merges": []}
    empty = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
             "model": model, **parts}
    if base == "chars":
        # Training splits words like SentencePiece. The real pre_tokenizer is set afterwards.
        empty["pre_tokenizer"] = split("▁", "MergedWithNext", kind="String")
        model |= {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, "vocab": {"<unk>": 0}}
        trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, limit_alphabet=2000, max_token_length=24,
                                      special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    else:
        trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, max_token_length=64, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer.from_str(json.dumps(empty))
    t.train_from_iterator(corpus, trainer)
    j = json.loads(t.to_str()) | parts
    j["added_tokens"] = added(name, j["model"]["vocab"])
    if base == "chars":
        j["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    else:
        j["decoder"] = byte_level(True)
    for key, value in changes.items():
        if key.startswith("model/"):
            j["model"][key[6:]] = value
    return j


# ---- comparison ----

def ours(tool, place, *options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([tool, "--quiet", "--threads", "1", "-m", place, *options], check=True, stdout=subprocess.PIPE).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(tool, name, lines, size):
    from tokenizers import Tokenizer
    model = train(name, lines[:: max(1, len(lines) // 1500)], 8000)
    t = Tokenizer.from_str(json.dumps(model))
    differ = []
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/tokenizer.json", "w", encoding="utf-8") as f:
            json.dump(model, f)
        with open(f"{place}/text.jsonl", "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"text": x}, ensure_ascii=False) + "\n" for x in lines)
        with open(f"{place}/one.jsonl", "w", encoding="utf-8") as f:
            f.write(json.dumps({"text": "a"}) + "\n")
        for parses in (False, True)[:1 + bool(model["added_tokens"])]:
            out, _ = ours(tool, place, *(["--parse-special"] if parses else []), "--to", "jsonl", f"{place}/text.jsonl")
            own = [j["tokens"] for j in map(json.loads, out.decode().splitlines()) if isinstance(j.get("tokens"), list)]
            assert len(own) == len(lines), (len(own), len(lines))
            t.encode_special_tokens = not parses
            start = time.process_time()
            wanted = [t.encode(x, add_special_tokens=False).ids for x in lines]
            theirs = time.process_time() - start
            differ += [(x, a, b) for x, a, b in zip(lines, own, wanted) if a != b]
        _, base = ours(tool, place, "-o", "/dev/null", f"{place}/one.jsonl")
        _, spent = ours(tool, place, "-o", "/dev/null", f"{place}/text.jsonl")
    mega = size / 1e6
    print(f"{name}: {mega:.1f} MB, {len(lines)} texts: {len(differ)} have other ids; ours {mega / (spent - base):.1f} MB/s, tokenizers {mega / theirs:.1f} MB/s a thread", flush=True)
    for x, a, b in differ[:3]:
        at = next((i for i, (c, d) in enumerate(zip(a, b)) if c != d), min(len(a), len(b)))
        print("  ", repr(t.decode(b[max(0, at - 5):at + 5], skip_special_tokens=False)), a[at:at + 6], b[at:at + 6], repr(x[:120]))
    return bool(differ)


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    SOME = list(texts(int(float(sys.argv[2]) * 1e6)))
    sys.exit(any([compare(sys.argv[1], name, SOME, sum(len(x.encode()) for x in SOME)) for name in sys.argv[3:] or FAMILIES]))
