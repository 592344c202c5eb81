"""Makes tokenizer.json in many forms, and the ids that Hugging Face's tokenizers and transformers give for texts with them.

    python tokenizer.py tests/golden/tokenizer      (tokenizers 0.23.3, transformers 5.24.0, sentencepiece 0.2.3)

bytes.json, chars.json: two small tokenizers, of bytes like GPT-2's and of characters like LLaMA-2's.
spm.model: a SentencePiece model like LLaMA's. If these three files exist, they are kept.
texts: one JSON string a line.
cases: a line for each case: "base", its changes in "set" (a path of keys: value), and for each text the CRC-32 of its ids
    (little-endian, 32 bits), without and with special tokens parsed. null means that tokenizers panics.
beside: a line for each case: "base", "set", the "files" beside it, and transformers' ids of a few texts. "plain": special tokens in the texts are text.
classes: a pattern, the number of SCALARS that it matches, and the CRC-32 of these (32 bits each, little-endian).
"""
import copy
import json
import os
import random
import struct
import sys
import tempfile
import zlib

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from bpe_texts import ODD, SPACES, WORDS
from patterns import FAMILIES, added as family_tokens

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
DEEPSEEK_V3 = [
    {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[一-龥぀-ゟ゠-ヿ]+"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
     "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
DEEPSEEK_LLM = [
    {"type": "Split", "pattern": {"Regex": "[\r\n]"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕ]+"},
     "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "\\s?[!-/:-~！-／：-～‘-‟　-。]+"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "\\s+$"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[一-龥ࠀ-一가-퟿]+"}, "behavior": "Isolated", "invert": False},
    {"type": "Digits", "individual_digits": True},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PATTERNS = [LLAMA3, GPT4O, CL100K, r"\w+|[^\w\s]+", r"\W", r"[\w.]+", r"\d+", r"\D+", r"\s+", r"\S+", r"[^\s]+", r"[^\S]", r"[a-z&&[^aeiou]]+",
            r"[[:alpha:]]+", r"[[:^punct:]]", r"[[:upper:][:digit:]]+", r"\p{Han}+", r"\p{^L}+", r"\P{Lu}", r"\h+", r"\H", r"^\s*", r"\s*$", r"\b", r"\B",
            r"(?<=\p{L})(?=\p{N})", r"(?<!\S)\S", r"a{2}?", r"\p{L}{2,3}+", r"x*", r"(?i)the|of\b", r"[^\n]*\n", r".", r"\R", r"\N+", r"\O{3}", r"(?>a+)b",
            r"a|b|", r"[-a-z]+", r"[a-z\-]+", r"\x41|\x{e9}|\u00e9", r"[\x{4e00}-\x{9fff}]", r"\.", r"[\[\]]", r"(th|he)+", r"\p{Sc}|\p{Sm}", r"[\p{M}]+", r"\Z|\A"]
CLASSES = [r"\w", r"\W", r"[\w]", r"[\W]", r"[^\w]", r"\d", r"\D", r"[\d]", r"\s", r"\S", r"[\s]", r"[^\S]", r"\h", r"\H"] + [
    rf"[[:{neg}{name}:]]" for name in "alnum alpha ascii blank cntrl digit graph lower print punct space upper xdigit word".split() for neg in ("", "^")] + [
    rf"\p{{{c}}}" for c in "L LC Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cn Co".split()] + [
    rf"\p{{{c}}}" for c in "Han Hiragana Katakana Hangul Alphabetic Letter Uppercase_Letter White_Space Uppercase Lowercase Punct Space".split()] + [
    r"[^\p{L}\p{N}]", r"[^\s\p{L}\p{N}]", r"[\p{L}&&[^\p{Lu}]]", r"[^\p{L}&&\p{Lu}]", r".", r"\N", r"\O", r"[a-z&&x-z]", r"[a-w&&[^c-g]z]"]


def scalars(every=False):
    """Lists the characters near which classes change. The inside of large blocks, which is all alike, is left out."""
    parts = [(0, 0x110000)] if every else [
        (0, 0x3410), (0x4DB0, 0x4E10), (0x9FE0, 0xAC10), (0xD790, 0xD800), (0xE000, 0xE010), (0xF8F0, 0x17010), (0x187E0, 0x18D40), (0x1AFF0, 0x1FC10),
        (0x1FFF0, 0x20010), (0x2A6D0, 0x2A710), (0x2B730, 0x2B830), (0x2CEA0, 0x2CEB8), (0x2EBDF, 0x2EC00), (0x2EE50, 0x2EE70), (0x2F7F0, 0x2FA30),
        (0x2FFF0, 0x30010), (0x31340, 0x31360), (0x323A0, 0x323C0), (0x3FFF0, 0x40010), (0xDFFF0, 0xE0200), (0xEFFF0, 0xF0010), (0x10FFF0, 0x110000)]
    return [c for first, end in parts for c in range(first, end) if not 0xD800 <= c < 0xE000]


def matched(pattern, points):
    inside = bytearray(b"\1") * len(points)
    for _, (start, end) in pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str("".join(map(chr, points))):
        inside[start:end] = bytes(end - start)
    return [c for c, yes in zip(points, inside) if yes]


def crc(numbers):
    return zlib.crc32(struct.pack(f"<{len(numbers)}I", *numbers))


# ---- texts ----

SPECIAL = ["<|endoftext|>", "<think>", "</think>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "[X]", "▁", "word", "  ", "\u3000", "ä", "1a", "'s"]


def texts(count, seed):
    draw = random.Random(seed)
    out = ["", " ", "\n", "a", "Hello, world!", " leading", "trailing ", "<think> a </think>b", "a<|endoftext|>", "  word<think>  x", "▁a▁b", "éa\u0301ß ﬁ ſ",
           "\u1c89\u0cdc\U0001e4d0 \U00031350 \u3040x\u2fe0\uffff"]
    while len(out) < count:
        kind = draw.random()
        if kind < 0.7:
            out.append("".join(draw.choice(WORDS if draw.random() < 0.75 else SPECIAL if draw.random() < 0.7 else ODD) + draw.choice(SPACES + ["", ""])
                               for _ in range(draw.randrange(1, 14))))
        elif kind < 0.85:
            out.append("".join(draw.choice("ab th\n .,1▁<|>'") for _ in range(draw.randrange(1, 70))))
        else:
            out.append("".join(chr(draw.choice([draw.randrange(1, 0x250), draw.randrange(0x250, 0x3000), draw.randrange(0x3000, 0xd000), draw.randrange(0xf900, 0x1fa00)]))
                               for _ in range(draw.randrange(1, 25))))
    return [t[:400] for t in out]


# ---- the two bases ----

def base_bytes(corpus):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    j = json.loads(t.to_str())
    j["decoder"] = dict(BYTE_LEVEL)
    return j


def base_chars(corpus):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=520, special_tokens=special, limit_alphabet=90, show_progress=False, max_token_length=12))
    j = json.loads(t.to_str())
    j["added_tokens"] = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                         for i, c in enumerate(["<unk>", "<s>", "</s>"])]
    j["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return j


def with_set(base, changes):
    j = copy.deepcopy(base)
    for path, value in changes.items():
        at = j
        *above, last = path.split("/")
        for key in above:
            at = at[key]
        if value == "DELETE":
            at.pop(last, None)
        else:
            at[last] = value
    return j


def ids_of(t, text, special):
    t.encode_special_tokens = not special
    return t.encode(text, add_special_tokens=False).ids


def crc_or_panic(t, text, special, is_named):
    """Returns the ids, or None: a few unusual cases make tokenizers panic."""
    try:
        return f"{crc(ids_of(t, text, special)):08x}"
    except BaseException:
        if is_named:
            raise
        return None


def added(j, tokens=()):
    size = len(j["model"]["vocab"])
    out, next_id = list(j["added_tokens"]), size
    for content, flags in tokens:
        known = j["model"]["vocab"].get(content)
        out.append({"id": next_id if known is None else known, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True,
                    "special": False, **flags})
        next_id += known is None
    return out


THINK = [("<think>", {}), ("</think>", {}), ("<|im_start|>", {"special": True, "normalized": False}), ("<|im_end|>", {"special": True, "normalized": False}),
         ("<|endoftext|>", {"special": True, "normalized": False})]
FLAGS = [("<think>", {"lstrip": True}), ("</think>", {"rstrip": True, "normalized": False}), ("word", {"single_word": True}), ("[X]", {"lstrip": True, "rstrip": True, "normalized": False}),
         ("<|im_start|>", {"special": True, "lstrip": True, "rstrip": True, "normalized": False}), ("<|im_", {"normalized": False}), ("ä", {"normalized": False})]


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def named_cases(bases):
    nobytes = {k: v for k, v in bases["bytes"]["model"]["vocab"].items()}
    missing = [k for k in nobytes if k in "ĀāĂ¼½çÐ\"Z7"]
    kept = {k: v for k, v in nobytes.items() if not any(c in k for c in missing)}
    merges = [m for m in bases["bytes"]["model"]["merges"] if all(p in kept for p in m) and "".join(m) in kept]
    plain = {**BYTE_LEVEL, "use_regex": False}
    yield "bytes", {}
    yield "bytes", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL)}
    yield "bytes", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL)}
    yield "bytes", {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": True}, BYTE_LEVEL)}
    yield "bytes", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": DEEPSEEK_V3}}
    yield "bytes", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": DEEPSEEK_LLM}}
    yield "bytes", {"pre_tokenizer": sequence(split(CL100K), plain), "model/ignore_merges": True}
    yield "bytes", {"pre_tokenizer": sequence(split(CL100K, "Removed", True), plain)}
    yield "bytes", {"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}}
    yield "bytes", {"pre_tokenizer": plain}
    yield "bytes", {"pre_tokenizer": sequence({"type": "Whitespace"}, plain)}
    yield "bytes", {"pre_tokenizer": sequence({"type": "WhitespaceSplit"}, {**plain, "add_prefix_space": True})}
    yield "bytes", {"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}, "added_tokens": added(bases["bytes"], tokens=FLAGS)}
    yield "bytes", {"added_tokens": added(bases["bytes"], tokens=THINK)}
    yield "bytes", {"added_tokens": added(bases["bytes"], tokens=FLAGS)}
    yield "bytes", {"model/vocab": kept, "model/merges": merges}
    yield "bytes", {"model/vocab": kept, "model/merges": merges, "model/unk_token": "t"}
    yield "bytes", {"model/vocab": kept, "model/merges": merges, "model/unk_token": "t", "model/fuse_unk": True}
    yield "chars", {}
    yield "chars", {"added_tokens": added(bases["chars"], tokens=THINK)}
    yield "chars", {"added_tokens": added(bases["chars"], tokens=FLAGS)}
    for scheme in ("always", "first", "never"):
        for cuts in (False, True):
            yield "chars", {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cuts},
                            "added_tokens": added(bases["chars"], tokens=THINK)}
    yield "chars", {"model/byte_fallback": False}
    yield "chars", {"model/byte_fallback": False, "model/fuse_unk": False}
    yield "chars", {"model/byte_fallback": False, "model/unk_token": None}
    yield "chars", {"model/vocab": {k: v for k, v in bases["chars"]["model"]["vocab"].items() if k not in ("<0xE2>", "<0xC3>", "<0x0A>")}}
    yield "chars", {"model/ignore_merges": True, "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                    "pre_tokenizer": split("▁", "MergedWithNext", False, "String")}
    yield "chars", {"model/ignore_merges": True}
    yield "chars", {"normalizer": None, "pre_tokenizer": None}
    yield "chars", {"normalizer": {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "▁"}}
    yield "chars", {"normalizer": {"type": "Sequence", "normalizers": []}}
    yield "bytes", {"normalizer": {"type": "NFC"}, "added_tokens": added(bases["bytes"], tokens=[*THINK, ("e\u0301", {})])}
    yield "chars", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}}
    for name, (base, changes) in FAMILIES.items():
        tokens = family_tokens(name, bases[base]["model"]["vocab"])
        yield base, {**changes, **({"added_tokens": bases[base]["added_tokens"] + tokens} if tokens else {})}


def random_case(bases, draw):
    """Returns a random case with components that our programs claim to understand."""
    kind = draw.choice(["bytes", "bytes", "chars"])
    changes = {}

    def one():
        what = draw.randrange(8)
        if what == 0:
            return {"type": "Digits", "individual_digits": draw.random() < 0.5}
        if what == 1:
            return {"type": "Punctuation", "behavior": draw.choice(BEHAVIORS)}
        if what == 2:
            return draw.choice([{"type": "Whitespace"}, {"type": "WhitespaceSplit"}])
        if what == 3:
            return split(draw.choice([" ", "a", "th", "▁", "<", ". "]), draw.choice(BEHAVIORS), draw.random() < 0.3, "String")
        if what == 4:
            return {"type": "Metaspace", "replacement": draw.choice(["▁", "_"]), "prepend_scheme": draw.choice(["always", "never", "first"]), "split": draw.random() < 0.5}
        return split(draw.choice(PATTERNS), draw.choice(BEHAVIORS), draw.random() < 0.3)

    parts = [one() for _ in range(draw.choice([0, 0, 1, 1, 2, 3]))]
    if kind == "bytes":
        parts.append({**BYTE_LEVEL, "add_prefix_space": draw.random() < 0.3, "use_regex": draw.random() < 0.6})
    if parts or draw.random() < 0.5:
        changes["pre_tokenizer"] = parts[0] if len(parts) == 1 else {"type": "Sequence", "pretokenizers": parts}
    if draw.random() < 0.4:
        norms = [draw.choice([{"type": "Prepend", "prepend": draw.choice(["▁", "ab "])},
                              {"type": "Replace", "pattern": {"String": draw.choice([" ", "a", "th", "<"])}, "content": draw.choice(["▁", "", "xy"])},
                              {"type": "Replace", "pattern": {"Regex": draw.choice([r"\s+", r"\d", r"[aeiou]", r"^", r"x*"])}, "content": draw.choice(["▁", "", "q"])}])
                 for _ in range(draw.randrange(1, 3))]
        changes["normalizer"] = {"type": "Sequence", "normalizers": norms}
    if draw.random() < 0.6:
        tokens = {}
        for _ in range(draw.randrange(1, 5)):
            flags = {f: draw.random() < 0.3 for f in ("single_word", "lstrip", "rstrip", "normalized", "special")}
            tokens[draw.choice(SPECIAL)] = flags
        base = bases[kind]
        listed = {a["content"] for a in base["added_tokens"]}
        changes["added_tokens"] = added(base, tokens=[(c, f) for c, f in tokens.items() if c not in listed])
    for option in ("fuse_unk", "ignore_merges", "byte_fallback"):
        if draw.random() < 0.3:
            changes[f"model/{option}"] = draw.random() < 0.5
    if draw.random() < 0.2:
        changes["model/unk_token"] = draw.choice([None, "t" if kind == "bytes" else "<unk>"])
    return kind, changes


def write_cases(directory, bases, some, count, seed):
    draw = random.Random(seed)
    cases = list(named_cases(bases)) + [random_case(bases, draw) for _ in range(count)]
    named = len(cases) - count
    with open(f"{directory}/cases", "w", encoding="utf-8") as f:
        for number, (kind, changes) in enumerate(cases):
            t = Tokenizer.from_str(json.dumps(with_set(bases[kind], changes)))
            line = {"base": kind, "named": number < named, "set": changes,
                    "plain": [crc_or_panic(t, x, False, number < named) for x in some], "special": [crc_or_panic(t, x, True, number < named) for x in some],
                    "text": t.decode(ids_of(t, some[-1], True), skip_special_tokens=True) if number < named else None}
            f.write(json.dumps(line, ensure_ascii=False) + "\n")


# ---- files beside a tokenizer.json ----

TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
BOTH = {**TEMPLATE, "single": TEMPLATE["single"] + [{"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "special_tokens": {**TEMPLATE["special_tokens"], "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
BESIDE_TEXTS = ["Hello there", "a <think> b</think>c", "x<s>y</s>", "<|im_start|>user\nhi<|im_end|>", "z <pad>"]


def token(content, special=False, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special, **flags}


def beside_cases():
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    llama = {"tokenizer_class": "LlamaTokenizer", **names}
    more = {"520": token("<think>"), "521": token("</think>", rstrip=True), "522": token("<|im_start|>", True), "523": token("<|im_end|>", True)}
    base = {str(i): token(c, True) for i, c in enumerate(["<unk>", "<s>", "</s>"])}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "model_max_length": 1000000000000000019884624838656}}
    yield "chars", {"post_processor": TEMPLATE}, {"tokenizer_config.json": {**FAST, **names}}
    yield "chars", {"post_processor": BOTH}, {"tokenizer_config.json": FAST}
    yield "chars", {"post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, TEMPLATE]}}, {
        "tokenizer_config.json": {**FAST, **names}}
    yield "chars", {"post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": False}}, {
        "tokenizer_config.json": FAST}
    yield "chars", {"post_processor": TEMPLATE}, {"tokenizer_config.json": {**FAST, **names, "add_bos_token": False}}
    yield "chars", {"post_processor": TEMPLATE}, {"tokenizer_config.json": {**FAST, **names, "add_eos_token": True}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "add_bos_token": True, "add_eos_token": True}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, "add_bos_token": True}}
    yield "chars", {"post_processor": TEMPLATE}, {}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "added_tokens_decoder": {**base, **more}}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "pad_token": "<pad>"}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "extra_special_tokens": ["<think>", "</think>"]}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names}, "added_tokens.json": {"<think>": 520, "</think>": 521}}
    yield "chars", {}, {"tokenizer_config.json": FAST, "special_tokens_map.json": {**names, "pad_token": token("<pad>")}, "added_tokens.json": {"<pad>": 520}}
    lists = [f"{a}_special_tokens" for a in ("additional", "extra")]
    for key in lists:
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: ["<think>"]}, "special_tokens_map.json": {"additional_special_tokens": ["</think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: ["<think>"]}, "special_tokens_map.json": {"extra_special_tokens": ["</think>", "<think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: None}, "special_tokens_map.json": {"additional_special_tokens": ["</think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: []}, "special_tokens_map.json": {"additional_special_tokens": ["</think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: []}, "special_tokens_map.json": {"extra_special_tokens": ["</think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names}, "special_tokens_map.json": {key: ["<think>", "</think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: ["<think>"], "added_tokens_decoder": base}, "special_tokens_map.json": {"additional_special_tokens": ["</think>"]}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, key: ["<|im_end|>"]}, "added_tokens.json": {"<|im_start|>": 520, "<|im_end|>": 521}}
        yield "chars", {}, {"tokenizer_config.json": {**FAST, **names}, "added_tokens.json": {"<|im_start|>": 520, "<|im_end|>": 521}, "special_tokens_map.json": {key: ["<|im_end|>"]}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, lists[0]: ["<think>"], lists[1]: ["</think>"]}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, lists[0]: ["<think>"], lists[1]: []}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, lists[0]: ["<think>"], lists[1]: {"think_token": "</think>"}}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "image_token": "<think>", "pad_token": "<pad>"}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names}, "special_tokens_map.json": {"image_token": token("<think>"), "audio_token": "</think>"}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names, "pad_token": {"__type": "AddedToken", **token("<pad>", lstrip=True)}}}
    yield "chars", {}, {"tokenizer_config.json": {**FAST, **names}, "special_tokens_map.json": {"pad_token": None, "bos_token": "<think>"}}
    yield "spm", {}, {"tokenizer_config.json": {**llama, "add_bos_token": True, "add_eos_token": False}}
    yield "spm", {}, {"tokenizer_config.json": {**llama, "add_bos_token": True, "added_tokens_decoder": {**base, **{str(int(k) - 120): v for k, v in more.items()}}}}
    yield "spm", {}, {"tokenizer_config.json": {**llama, "add_bos_token": True, "legacy": True, "added_tokens_decoder": {**base, **{str(int(k) - 120): v for k, v in more.items()}}}}
    yield "spm", {}, {"tokenizer_config.json": {**llama, "add_bos_token": True, "add_eos_token": True}, "added_tokens.json": {"<think>": 400, "<|im_start|>": 401},
                      "special_tokens_map.json": names}


def write_beside(directory, bases):
    from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast
    with open(f"{directory}/beside", "w", encoding="utf-8") as f:
        for kind, changes, files in beside_cases():
            with tempfile.TemporaryDirectory() as place:
                if kind == "spm":
                    with open(f"{directory}/spm.model", "rb") as model, open(f"{place}/tokenizer.model", "wb") as to:
                        to.write(model.read())
                else:
                    with open(f"{place}/tokenizer.json", "w", encoding="utf-8") as to:
                        json.dump(with_set(bases[kind], changes), to)
                for name, content in files.items():
                    with open(f"{place}/{name}", "w", encoding="utf-8") as to:
                        json.dump(content, to)
                if kind == "spm":
                    t = LlamaTokenizer.from_pretrained(place)
                else:
                    t = PreTrainedTokenizerFast.from_pretrained(place) if not files else AutoTokenizer.from_pretrained(place)
                line = {"base": kind, "set": changes, "files": files, "texts": BESIDE_TEXTS, "ids": [t(x)["input_ids"] for x in BESIDE_TEXTS], "vocab": len(t)}
                t.split_special_tokens = True  # special tokens in a text are text
                line["plain"] = [t(x)["input_ids"] for x in BESIDE_TEXTS]
            f.write(json.dumps(line, ensure_ascii=False) + "\n")


def train_spm(directory, corpus):
    import sentencepiece
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/text", "w", encoding="utf-8") as f:
            f.write("\n".join(x.replace("\n", " ") for x in corpus))
        sentencepiece.SentencePieceTrainer.train(input=f"{place}/text", model_prefix=f"{place}/m", model_type="bpe", vocab_size=400, byte_fallback=True, character_coverage=0.98,
                                                 split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
                                                 minloglevel=2)
        with open(f"{place}/m.model", "rb") as model, open(f"{directory}/spm.model", "wb") as to:
            to.write(model.read())


def main(directory):
    draw = random.Random(1)
    corpus = [" ".join(draw.choice(WORDS) for _ in range(30)) for _ in range(200)] + ["<|endoftext|> the word" * 3]
    bases = {}
    for kind, make in ("bytes", base_bytes), ("chars", base_chars):
        if os.path.exists(f"{directory}/{kind}.json"):  # ties make each training give another result
            with open(f"{directory}/{kind}.json", encoding="utf-8") as f:
                bases[kind] = json.load(f)
            continue
        bases[kind] = j = make(corpus)
        with open(f"{directory}/{kind}.json", "w", encoding="utf-8") as f:
            json.dump(j, f, ensure_ascii=False)
            f.write("\n")
    seed = int(os.environ.get("SEED", "2"))
    some = texts(int(os.environ.get("TEXTS", "45")), 3 + seed)
    with open(f"{directory}/texts", "w", encoding="utf-8") as f:
        for x in some:
            f.write(json.dumps(x) + "\n")
    write_cases(directory, bases, some, int(os.environ.get("CASES", "70")), seed)
    points = scalars("EVERY" in os.environ)
    with open(f"{directory}/classes", "w", encoding="utf-8") as f:
        for pattern in CLASSES:
            found = matched(pattern, points)
            f.write(f"{json.dumps(pattern)} {len(found)} {crc(found):08x}\n")
    if not os.path.exists(f"{directory}/spm.model"):
        train_spm(directory, corpus)
    write_beside(directory, bases)


if __name__ == "__main__":
    main(sys.argv[1])
