"""Makes small byte-level tokenizer.json files like those of LLaMA-3 and GPT-2, and the ids that Hugging Face's tokenizers
give for texts with them.

    python bpe.py tests/golden/bpe            (tokenizers 0.23.3)

texts: one JSON string a line; NAME.ids: the ids of each, one line a text.
"""
import json
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from bpe_texts import ODD, SPACES, WORDS

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
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
    if kind == "llama3":  # special tokens in the vocabulary, and a word that no merges produce, so only ignore_merges finds it
        j = json.loads(t.to_str())
        j["model"]["vocab"].update({"<|begin_of_text|>": 700, "<|end_of_text|>": 701, "unreached": 702})
        t = Tokenizer.from_str(json.dumps(j))
    t.add_special_tokens([AddedToken("<|begin_of_text|>", special=True), AddedToken("<|end_of_text|>", special=True)])
    if kind == "llama3":
        t.post_processor = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))])])
    return t


def main(directory):
    all_texts = texts()
    with open(f"{directory}/texts", "w", encoding="utf-8") as f:
        for text in all_texts:
            f.write(json.dumps(text) + "\n")
    for kind in ("llama3", "gpt2"):
        t = make(kind, [x for x in all_texts if len(x) > 100])
        if kind == "gpt2":  # each merge is one string, as in files until 2024
            j = json.loads(t.to_str())
            j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
            text = json.dumps(j, ensure_ascii=False)
        else:
            j = json.loads(t.to_str())
            text = json.dumps(j, ensure_ascii=False)
        import os
        os.makedirs(f"{directory}/{kind}", exist_ok=True)
        with open(f"{directory}/{kind}/tokenizer.json", "w", encoding="utf-8") as f:
            f.write(text + "\n")
        with open(f"{directory}/{kind}/tokenizer_config.json", "w", encoding="utf-8") as f:
            json.dump({"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|end_of_text|>", "special": True}}, f)
            f.write("\n")
        # Special tokens that occur in a text are treated as text.
        t.encode_special_tokens = True
        with open(f"{directory}/{kind}/ids", "w", encoding="utf-8") as f:
            for x in all_texts + ["unreached", "an unreached unreached."]:
                f.write(" ".join(map(str, t.encode(x, add_special_tokens=False).ids)) + "\n")
    with open(f"{directory}/texts", "a", encoding="utf-8") as f:
        for x in ["unreached", "an unreached unreached."]:
            f.write(json.dumps(x) + "\n")


main(sys.argv[1])
