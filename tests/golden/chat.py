"""Encodes conversations in the templates of LLaMA-3 and ChatML with Hugging Face's tokenizers, each as one text.

    python chat.py tests/golden/chat tests/golden/bpe/llama3          (tokenizers 0.23.3)

tokenizer.json is that of bpe/llama3 with the special tokens of both templates. cases.jsonl (LLaMA-3) and chatml.jsonl have
messages, tokens, and the ranges of tokens that are trained on. These are the answers with the tokens that end them.
"""
import json
import os
import random
import shutil
import sys

from tokenizers import AddedToken, Tokenizer

WORDS = ["the", "spirit", "of", "Größe", "слово", "世界", "2024", "don't", "x->y;", "!", "\n", "\n\n", "\t", "  ", "😀", "[INST]", "user"]


def text(draw):
    return "".join(draw.choice(WORDS) + draw.choice([" ", " ", ""]) for _ in range(draw.randrange(1, 25))).strip() or "yes"


# The beginning of a conversation, the text before a message, the end of a message, the text after that.
LLAMA_3 = "<|begin_of_text|>", "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>", ""
CHATML = "", "<|im_start|>{}\n", "<|im_end|>", "\n"


def template(t, messages, how):
    """Returns the tokens of the whole text, and the ranges of the answers in it."""
    whole, header, ending, behind = how
    answers = []
    for m in messages:
        whole += header.format(m["role"])
        start = len(whole)
        whole += m["content"].strip() + ending
        if m["role"] == "assistant":
            answers.append((start, len(whole)))
        whole += behind
    e = t.encode(whole, add_special_tokens=False)
    targets = []
    for start, end in answers:
        inside = [i for i, (a, b) in enumerate(e.offsets) if a >= start and b <= end]
        targets.append([inside[0], inside[-1] + 1])
    return e.ids, targets


def write_cases(path, t, how):
    draw = random.Random(11)
    with open(path, "w", encoding="utf-8") as f:
        for i in range(60):
            messages = [{"role": "system", "content": text(draw)}] if i % 3 == 0 else []
            for _ in range(draw.randrange(1, 4)):
                messages += [{"role": "user", "content": text(draw)}, {"role": "assistant", "content": text(draw)}]
            tokens, targets = template(t, messages, how)
            f.write(json.dumps({"messages": messages, "tokens": tokens, "targets": targets}) + "\n")


def main(directory, base):
    os.makedirs(directory, exist_ok=True)
    t = Tokenizer.from_file(f"{base}/tokenizer.json")
    specials = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]
    t.add_special_tokens([AddedToken(x, special=True) for x in specials])
    with open(f"{directory}/tokenizer.json", "w", encoding="utf-8") as f:
        f.write(json.dumps(json.loads(t.to_str()), ensure_ascii=False) + "\n")
    shutil.copy(f"{base}/tokenizer_config.json", directory)
    write_cases(f"{directory}/cases.jsonl", t, LLAMA_3)
    write_cases(f"{directory}/chatml.jsonl", t, CHATML)


main(*sys.argv[1:])
