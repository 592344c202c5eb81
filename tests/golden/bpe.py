"""Byte-level BPE: small tokenizer.json files of the kinds that LLaMA-3 and GPT-2 have, and what Hugging Face's
tokenizers make of texts with them.

    python bpe.py tests/golden/bpe            (tokenizers 0.23.3)

texts: one JSON string a line; NAME.ids: the ids of each, one line a text.
"""
import json
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS = ("the of and to in that he shall unto for I his LORD they be is him not them it with all thou was thy God which my me said "
         "but ye their have will thee from as are when this out were by you up there Ärger größer naïve façade été señor ação "
         "жизнь слово было человек 世界 日本語 한국어 हिन्दी العربية שלום ไทย don't I'll WE'VE it's o'clock 2024 3.14159 12,345 "
         "for(i=0;i<n;i++) {return x->y;} printf(\"%d\\n\") #include <stdio.h> http://example.org/a?b=c&d=e").split(" ")
SPACES = [" ", " ", " ", " ", " ", "\n", "\n\n", "  ", "\t", " \n", "\r\n", "    ", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e", "\u200b"]
ODD = ["😀👩‍👩‍👧‍👦", "e\u0301", "ﬁ", "Ⅷ", "½", "²³", "١٢٣٤", "ſ", "K's", "'ſ", "'S 'T 'RE 'll", "\x00\x01", "\x7f", "ǅ", "<|end_of_text|>", "<|begin|>x",
       "a" * 300, " " * 200, "\n" * 70, "1" * 50, "!" * 90, "\U0010ffff", "\ue000", "ß", "İ", "ı", "…", "—", "''''", "_snake_case_", "camelCase"]


def texts():
    draw = random.Random(7)
    out = ["", " ", "\n", "a", "Hello, world!", " leading", "trailing ", "  two", "x\n y", "don't DON'T don’t"]
    out += ODD
    for _ in range(160):
        n = draw.randrange(1, 40)
        out.append("".join(draw.choice(WORDS if draw.random() < 0.93 else ODD) + draw.choice(SPACES) for _ in range(n)))
    for _ in range(40):
        out.append("".join(chr(draw.choice([draw.randrange(1, 0x250), draw.randrange(0x250, 0x3000), draw.randrange(0x3000, 0xd000)]))
                           for _ in range(draw.randrange(1, 60))))
    return out


def make(kind, corpus):
    t = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    if kind == "llama3":
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3), "isolated", False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(corpus, trainer)
    t.add_special_tokens([AddedToken("<|begin_of_text|>", special=True), AddedToken("<|end_of_text|>", special=True)])
    return t


def main(directory):
    all_texts = texts()
    with open(f"{directory}/texts", "w", encoding="utf-8") as f:
        for text in all_texts:
            f.write(json.dumps(text) + "\n")
    for kind in ("llama3", "gpt2"):
        t = make(kind, [x for x in all_texts if len(x) > 100])
        if kind == "gpt2":  # merges as one string each, as files were written until 2024
            j = json.loads(t.to_str())
            j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
            # A whole word that no merges make: found by ignore_merges only.
            text = json.dumps(j, ensure_ascii=False)
        else:
            j = json.loads(t.to_str())
            j["model"]["vocab"]["unreached"] = 702
            text = json.dumps(j, ensure_ascii=False)
            t = Tokenizer.from_str(text)
        import os
        os.makedirs(f"{directory}/{kind}", exist_ok=True)
        with open(f"{directory}/{kind}/tokenizer.json", "w", encoding="utf-8") as f:
            f.write(text + "\n")
        with open(f"{directory}/{kind}/tokenizer_config.json", "w", encoding="utf-8") as f:
            json.dump({"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|end_of_text|>", "special": True}}, f)
            f.write("\n")
        # Special tokens in text are text.
        t.encode_special_tokens = True
        with open(f"{directory}/{kind}/ids", "w", encoding="utf-8") as f:
            for x in all_texts + ["unreached", "an unreached unreached."]:
                f.write(" ".join(map(str, t.encode(x, add_special_tokens=False).ids)) + "\n")
    with open(f"{directory}/texts", "a", encoding="utf-8") as f:
        for x in ["unreached", "an unreached unreached."]:
            f.write(json.dumps(x) + "\n")


main(sys.argv[1])
