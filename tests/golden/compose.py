"""Lists normalization form C as Hugging Face's tokenizers compute it.

    python compose.py tests/golden/compose                 (tokenizers 0.23.3, Python 3.11: Unicode 14)
    python compose.py --compare BIN/tokenize MEGABYTES      by hand: compares the ids that `tokenize` and tokenizers give for this much text of every script

compose: for each block of 4096 code points, the CRC-32 of the normalized texts of its characters with MARKS, in UTF-8. The last line, "decomposed", has
    the CRC-32 of every character's decomposition, forwards and backwards.
late: characters that combine or decompose in Unicode 14, but not in tokenizers; for lib/tokenizer/unicode_compose.c.
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
import zlib

from tokenizers import Tokenizer, normalizers

NFC = normalizers.NFC().normalize_str


def scalars():
    return [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def marked(c):
    """Returns the character alone, with combining marks in either order, after a letter, and between a letter and a mark."""
    x = chr(c)
    return f"{x}.{x}\u0301\u0323.{x}\u0327\u0301{x}.e{x}.a{x}\u0301.\u1100{x}\u11a8."


def blocks():
    for first in range(0, 0x110000, 0x1000):
        points = [c for c in range(first or 1, first + 0x1000) if not 0xD800 <= c < 0xE000]
        if points:
            yield first, zlib.crc32("".join(NFC(marked(c)) for c in points).encode())


def decomposed():
    all_of_them = []
    for c in scalars():
        nfd = unicodedata.normalize("NFD", chr(c))
        if nfd != chr(c):
            all_of_them += [NFC(nfd), NFC(nfd[::-1]), NFC(nfd + "\u0301"), NFC(nfd[0] + "\u0323" + nfd[1:])]
    return zlib.crc32("\n".join(all_of_them).encode())


def late():
    for c in scalars():
        x = chr(c)
        if unicodedata.combining(x) and NFC(f"a{x}\u0301") == f"a{x}\u0301" and unicodedata.normalize("NFC", f"a{x}\u0301") != f"a{x}\u0301":
            yield c
        elif unicodedata.combining(x) and NFC(f"\u0345{x}") != unicodedata.normalize("NFC", f"\u0345{x}"):
            yield c
        elif NFC(unicodedata.normalize("NFD", x)) != unicodedata.normalize("NFC", x) or NFC(x) != unicodedata.normalize("NFC", x):
            yield c
            yield from map(ord, unicodedata.normalize("NFD", x)[1:])


def compare(tool, megabytes):
    """Makes a byte-level tokenizer with NFC before it, like Qwen's, and text of every block."""
    directory = os.path.dirname(os.path.abspath(__file__))
    with open(f"{directory}/tokenizer/bytes.json", encoding="utf-8") as f:
        model = json.load(f)
    model["normalizer"] = {"type": "NFC"}
    draw = random.Random(7)
    known = [c for c in scalars() if c >= 0x20]
    starts = [c for c in range(0x80, 0x30000, 0x80) if not 0xD800 <= c < 0xE000] + list(range(0xE0000, 0xE0200, 0x80))
    lines = []
    size = 0
    while size < megabytes << 20:
        first = draw.choice(starts)
        marks = [chr(draw.randrange(0x300, 0x345)) for _ in range(3)]
        line = "".join(draw.choice([chr(first + draw.randrange(0x80)), chr(first + draw.randrange(0x80)), draw.choice(marks), " ", draw.choice("aeiou"), chr(draw.choice(known))])
                       for _ in range(draw.randrange(5, 200)))
        line = "".join(x for x in line if x not in "\r\n\0" and not 0xD800 <= ord(x) < 0xE000)
        lines += [line, unicodedata.normalize("NFD", line)]
        size += 2 * len(line.encode())
    t = Tokenizer.from_str(json.dumps(model))
    t.encode_special_tokens = True
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/tokenizer.json", "w", encoding="utf-8") as f:
            json.dump(model, f)
        with open(f"{place}/text.jsonl", "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"text": x}, ensure_ascii=False) + "\n" for x in lines)
        out = subprocess.run([tool, "--quiet", "-m", place, "--to", "jsonl", f"{place}/text.jsonl"], check=True, stdout=subprocess.PIPE, text=True).stdout
    own = [j["tokens"] for j in map(json.loads, out.splitlines()) if isinstance(j.get("tokens"), list)]
    wanted = [e.ids for e in t.encode_batch(lines, add_special_tokens=False)]
    others = [i for i, (a, b) in enumerate(zip(own, wanted)) if a != b]
    print(f"{size} bytes, {len(lines)} texts ({len(own)} read): {len(others)} have other ids", *map(repr, (lines[i] for i in others[:3])), sep="\n")
    sys.exit(bool(others) or len(own) != len(wanted))


def main(directory):
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/compose", "w", encoding="utf-8") as f:
        for first, crc in blocks():
            f.write(f"{first:x} {crc:08x}\n")
        f.write(f"decomposed {decomposed():08x}\n")
    with open(f"{directory}/late", "w", encoding="utf-8") as f:
        f.writelines(f"{c:x}\n" for c in sorted(set(late())))


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        compare(sys.argv[2], int(sys.argv[3]))
    main(sys.argv[1])
