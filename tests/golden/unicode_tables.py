"""Writes tables of characters of Hugging Face's tokenizers as C: unicode_tables.c, unicode_late.c and unicode_classes.c.

    python unicode_tables.py ../../lib/tokenizer      (tokenizers 0.23.3, Python 3.11)

numeric, punctuation, word: the characters at which Digits, Punctuation and Whitespace cut (Rust's tables, not Oniguruma's).
late: characters that Unicode 14 lacks, or has in other classes. For matching a pattern, each of them is replaced by a
character of Unicode 14 with the same number of bytes and the same of Oniguruma's classes. So a PCRE2 with the tables of
Unicode 14 or later gives the same matches as Oniguruma.
classes: what each character is in the patterns that scanner.c knows (unicode_classes.c).
"""
import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0"
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
PROBES = [rf"\p{{{c}}}" for c in CATEGORIES] + [
    rf"[[:{c}:]]" for c in "alnum alpha blank cntrl digit graph lower print punct space upper word".split()
] + [r"\p{Han}", r"\p{Hiragana}", r"\p{Katakana}", r"\p{Hangul}"]
HEAD = "/* Made by tests/golden/unicode_tables.py: do not edit. */\n/* clang-format off */\n#include \"lib/tokenizer/unicode_tables.h\"\n"
# Characters whose classes differ between Unicode 14 and 16, found by comparing PCRE2 10.42 with Oniguruma.
CHANGED = [*range(0x363, 0x370), 0xC04, 0xF82, 0xF83, 0x10FC, *range(0x1DD3, 0x1DE7), 0xA7F2, 0xA7F3, 0xA7F4, 0xAB69, 0x11080, 0x11081, 0x1171E]
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(cutter, points):
    """Returns those of the code points that the pre-tokenizer removes."""
    text = "".join(map(chr, points))
    inside = bytearray(b"\1") * len(points)
    for _, (start, end) in cutter.pre_tokenize_str(text):
        inside[start:end] = bytes(end - start)
    return {c for c, yes in zip(points, inside) if yes}


def by_regex(pattern, points):
    return members(pre_tokenizers.Split(Regex(pattern), "removed"), points)


def isolated(cutter):
    """Returns the code points that become a piece of their own between two x."""
    out = set()
    for _, (start, end) in cutter.pre_tokenize_str("x".join(map(chr, SCALARS)) + "x"):
        if end - start == 1 and start % 2 == 0:
            out.add(SCALARS[start // 2])
    return out


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def vectors(points):
    vector = dict.fromkeys(points, 0)
    for bit, probe in enumerate(PROBES):
        for c in by_regex(probe, points):
            vector[c] |= 1 << bit
    return vector


def late_rows():
    late = [c for c in SCALARS if unicodedata.category(chr(c)) == "Cn" or c in CHANGED]
    some = [c for c in late if c < 0x40000 or 0xE0000 <= c < 0xE1000]
    vector = vectors(some)
    candidates = [c for c in list(range(0xA0, 0x3200)) + list(range(0x4E00, 0x4E10)) + list(range(0xA000, 0xAC10)) +
                  list(range(0x10000, 0x12000)) + list(range(0x1B000, 0x1B010)) + list(range(0x1D000, 0x1F800)) + [0x20000]
                  if unicodedata.category(chr(c)) != "Cn" and c not in CHANGED]
    stands = {}
    for c, v in vectors(candidates).items():
        stands.setdefault((v, len(chr(c).encode())), c)
    nothing = {2: 0, 3: 0xFDD0, 4: 0x1FFFE}
    rows = []
    for c in late:
        size = len(chr(c).encode())
        v = vector.get(c, 0)
        other = nothing[size] if not v else stands.get((v, size))
        assert other is not None, (hex(c), [p for i, p in enumerate(PROBES) if v >> i & 1])
        if not other:
            continue
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == other:
            rows[-1][1] = c
        else:
            rows.append([c, c, other])
    return rows


def class_starts():
    """Returns [first character, class] of each range of one class, in the order of enum unicode_class."""
    sets = [by_regex(p, SCALARS) for p in (r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}", r"\p{N}")]
    numeric, spaces = isolated(pre_tokenizers.Digits(True)), by_regex(r"\s", SCALARS)
    assert not sets[4] - numeric
    sets += [numeric - sets[4], spaces]
    kind = bytearray(0x110000)
    for i, members_of in enumerate(sets):
        for c in members_of:
            assert not kind[c], hex(c)
            kind[c] = i + 1
    for c in range(0xD800, 0xE000):
        kind[c] = kind[0xD7FF]
    return [(c, kind[c]) for c in range(0x110000) if not c or kind[c] != kind[c - 1]]


def write_classes(file):
    entries = [f"0x{first << 4 | kind:x}," for first, kind in class_starts()]
    file.write("\n/* The first character of each range of one class, times 16, plus the class. */\nconst uint32_t unicode_class_ranges[] = {\n")
    for i in range(0, len(entries), 9):
        file.write("    " + " ".join(entries[i:i + 9]) + "\n")
    file.write(f"}};\nconst int unicode_class_count = {len(entries)};\n")


def write(file, name, note, rows, each, shape):
    file.write(f"\n/* {note} */\nconst struct {shape} unicode_{name}[] = {{\n")
    for i in range(0, len(rows), each):
        file.write("    " + " ".join("{ " + ", ".join(f"0x{v:x}" for v in r) + " }," for r in rows[i:i + each]) + "\n")
    file.write(f"}};\nconst int unicode_{name}_count = {len(rows)};\n")


def main(directory):
    with open(f"{directory}/unicode_tables.c", "w", encoding="utf-8") as f:
        f.write(HEAD)
        write(f, "numeric", "The characters for which Rust's char::is_numeric is true.", ranges(isolated(pre_tokenizers.Digits(True))), 4, "unicode_range")
        write(f, "punctuation", "The punctuation of ASCII and of the crate unicode_categories.",
              ranges(isolated(pre_tokenizers.Punctuation())), 4, "unicode_range")
        write(f, "word", "The characters that \\w of the crate regex matches.", ranges(words()), 4, "unicode_range")
    with open(f"{directory}/unicode_late.c", "w", encoding="utf-8") as f:
        f.write(HEAD)
        write(f, "late", "Characters that Unicode 14 lacks or has in other classes, each with its replacement.", late_rows(), 3, "unicode_stand_in")
    with open(f"{directory}/unicode_classes.c", "w", encoding="utf-8") as f:
        f.write(HEAD)
        write_classes(f)


def words():
    """Returns the characters that belong to words: x and the character are one piece."""
    out = set()
    text = " ".join("x" + chr(c) for c in SCALARS)
    starts = {3 * i: c for i, c in enumerate(SCALARS)}
    for _, (start, end) in pre_tokenizers.Whitespace().pre_tokenize_str(text):
        if end - start == 2 and start in starts:
            out.add(starts[start])
    return out


main(sys.argv[1])
