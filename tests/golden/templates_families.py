"""Formats conversations with the chat_templates of Qwen, DeepSeek, Phi, Gemma, Granite, OLMo and Mistral Small.

    python templates_families.py templates tokenizer SOURCES          (transformers 5.24.0, tokenizers 0.23.3)

SOURCES is as for templates.py, with huggingface/trl (f2cd577) beside the others.

Written are
- bytes/, chars/, gemma/: small tokenizers with the special tokens of these templates. The first is of bytes, with NFC. The second is of characters like
  Phi-3's, whose special tokens take the white space after them. The third is like Gemma's, whose newlines are added tokens;
- families.jsonl: in the form of cases.jsonl. With COUNT=200 SEED=1 it has 200 random conversations for each template instead, to compare by hand.
"""
import json
import os
import random
import sys

from templates import CONVERSATIONS, automap, digest, form, messages_of, openvino

THOUGHTS = [
    (None, [("q", "<think>\nhm\n</think>\n\nyes"), ("r", "<think>\n\nwell\n\n</think>\n\n\nno")]),
    ("S", [("q", "<think>a</think>b"), ("r", "plain"), ("s", "<think>\nc</think>\n\nd</think>e")]),
    (None, [("q", "hm</think>x"), ("r", "<think>\nnot ended")]),
    (None, [("q", "\n\nlead"), ("r", "\n\nlead"), ("e\u0301a", "e\u0301 \u1112\u1161\u11ab"), ("</think>", "<think>"), ("v", "<think>\n\n</think>\n\nw")]),
    ("", [("<think>q", "<think>\nx</think>")]),
]

# The thinking beside the answers, as reasoning_content.
BESIDE = [(None, [("q", "yes"), ("r", "\n\nno")], ["hm", "\n\nwell \n"]), ("S", [("q", "<think>a</think>b"), ("r", "<think>c</think>d")], ["", "</think>e"]),
          (None, [("q", "a"), ("r", "<think>c</think>\nd")], ["x", None])]

PARTS = ["a", "the", " ", " ", "\n", "\n\n", "<think>", "</think>", "<think>\n", "\n</think>\n\n", "</think>\n\n", "e\u0301", "é", "中", "\U0001f600", "1", ".", "▁", "word and", "\t", "\u3000",
         "<tool_response>", "'s", "[", "]", "<", "|>", "<｜User｜>", "assistant"]


def random_conversations(count, seed):
    """Returns the system prompt, the turns, and the thinking beside the answers."""
    draw = random.Random(seed)

    def text():
        return "".join(draw.choice(PARTS) for _ in range(draw.randrange(0, 9)))

    for _ in range(count):
        turns = [(text(), text()) for _ in range(draw.randrange(1, 6))]
        beside = [draw.choice([None, None, text()]) for _ in turns]
        yield draw.choice([None, text()]), turns, beside if draw.random() < 0.3 else None


# The origin of the text, our template, its tokenizer, the end of an answer.
PUBLISHED = [
    ("Qwen/Qwen3-8B-Base", "qwen3", "bytes", "<|im_end|>"),
    ("Qwen/Qwen3-1.7B", "qwen3", "bytes", "<|im_end|>"),
    ("ollama library/qwen3-next:80b", "qwen3", "bytes", "<|im_end|>"),
    ("Qwen/Qwen3-8B-Base", "qwen3-no-think", "bytes", "<|im_end|>"),
    ("trl qwen3_instruct_2507", "chatml", "bytes", "<|im_end|>"),
    ("deepseek-ai/DeepSeek-V3-Base", "deepseek", "bytes", None),
    ("deepseek-ai/DeepSeek-R1", "deepseek-r1", "bytes", None),
    ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek-r1", "bytes", None),
    ("ollama library/deepseek-r1:8b", "deepseek-r1", "bytes", None),
    ("microsoft/Phi-3-mini-4k-instruct", "phi-3", "chars", "<|end|>"),
    ("microsoft/Phi-3.5-mini-instruct", "phi-3", "chars", "<|end|>"),
    ("microsoft/Phi-3-small-8k-instruct", "phi-3", "bytes", "<|end|>"),
    ("microsoft/Phi-3-medium-128k-instruct", "phi-3-medium", "chars", "<|end|>"),
    ("microsoft/phi-4", "phi-4", "bytes", "<|im_end|>"),
    ("ollama library/phi4:14b", "phi-4", "bytes", "<|im_end|>"),
    ("microsoft/Phi-4-mini-instruct", "phi-4-mini", "bytes", "<|end|>"),
    ("google/gemma-2b-it", "gemma", "gemma", "<end_of_turn>"),
    ("google/gemma-3-1b-it", "gemma-3", "gemma", "<end_of_turn>"),
    ("ollama library/gemma3:1b", "gemma-3", "gemma", "<end_of_turn>"),
    ("ibm-granite/granite-3.0-1b-a400m-instruct", "granite", "bytes", "<|end_of_text|>"),
    ("ollama library/granite4:350m", "granite", "bytes", "<|end_of_text|>"),
    ("ollama library/granite4:latest", "granite", "bytes", "<|end_of_text|>"),
    ("ollama library/olmo2:7b", "olmo-2", "bytes", None),
    ("ollama library/tulu3:70b", "olmo-2", "bytes", None),
    ("ollama library/mistral-small:24b", "mistral-small", "bytes", None),
    ("ollama library/mistral-large:123b", "mistral-small", "bytes", None),
]
THINKS = "qwen3", "qwen3-no-think", "deepseek-r1"
NO_SYSTEM = "gemma", "phi-3-medium"
WAITING = "<think>\n", "<think>\n\n</think>\n\n"
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


# ---- tokenizers ----

def special(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **flags}


def with_tokens(base, tokens, first=0):
    vocab = base["model"]["vocab"]
    size = max(vocab.values()) + 1
    base["added_tokens"] = base["added_tokens"][:first] + [{"id": size + i, **token} for i, token in enumerate(tokens)]
    return base


def make_tokenizers(directory, sources):
    def read(name):
        with open(f"{sources}/{name}.json", encoding="utf-8") as f:
            return json.load(f)

    marks = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|im_start|>", "<|im_sep|>", "<|im_end|>", "<|start_of_role|>", "<|end_of_role|>",
             "<|end_of_text|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    by_bytes = with_tokens(read("bytes"), [special(x) for x in marks] + [special(x, special=False) for x in ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")])
    by_bytes["normalizer"] = {"type": "NFC"}
    by_bytes["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
    phi = with_tokens(read("chars"), [special("<|endoftext|>"), special("<|system|>", rstrip=True), special("<|user|>", rstrip=True),
                                      special("<|assistant|>", rstrip=True, lstrip=True), special("<|end|>", rstrip=True, lstrip=True)], 3)
    gemma = with_tokens(read("chars"), [special("<bos>"), special("<eos>"), special("<start_of_turn>"), special("<end_of_turn>")] +
                        [special(x, special=False) for x in ("\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁")], 3)
    gemma["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    gemma["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    gemma["decoder"]["decoders"].pop()
    names = {"bytes": (by_bytes, marks[0], marks[1]), "chars": (phi, "<s>", "<|endoftext|>"), "gemma": (gemma, "<bos>", "<eos>")}
    for name, (tokenizer, bos, eos) in names.items():
        os.makedirs(f"{directory}/{name}", exist_ok=True)
        with open(f"{directory}/{name}/tokenizer.json", "w", encoding="utf-8") as f:
            json.dump(tokenizer, f, ensure_ascii=False)
            f.write("\n")
        with open(f"{directory}/{name}/tokenizer_config.json", "w", encoding="utf-8") as f:
            json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}, f)
            f.write("\n")
    return names


# ---- cases ----

def by_template(tokenizer, text, end, system, turns, lists, options, beside=None):
    messages = messages_of(system, turns)
    for message, reasoning in zip([m for m in messages if m["role"] == "assistant"], beside or []):
        if reasoning is not None:
            message["reasoning_content"] = reasoning
    if lists and system is not None:
        messages[0]["content"] = [{"type": "text", "text": system}]

    def ask(count, asks, tokenize):
        got = tokenizer.apply_chat_template(messages[:count], chat_template=text, tokenize=tokenize, add_generation_prompt=asks, **options)
        return got["input_ids"] if hasattr(got, "keys") else got

    whole = ask(len(messages), False, False)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    assert ask(len(messages), False, True) == encoded["input_ids"]
    specials = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    targets, prompts = [], []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = ask(i, True, False)
        for waiting in WAITING:  # the end of a prompt, where the answer itself does not begin with it
            if not whole.startswith(before) and before.endswith(waiting):
                before = before[:-len(waiting)]
        assert whole.startswith(before), (before, whole)
        stop = whole.index(end, len(before)) + len(end)
        inside = [k for k, (a, b) in enumerate(encoded["offset_mapping"])
                  if b > len(before) and a < stop and not (a < len(before) and encoded["input_ids"][k] in specials)]
        targets.append([inside[0], inside[-1] + 1])
        prompts.append(ask(i, True, True))
    return {"tokens": encoded["input_ids"], "targets": targets, "prompts": prompts}


def cases(texts, tokenizers):
    seen = set()
    for name, template, place, end in PUBLISHED:
        text = texts[name]
        own = {} if template == "qwen3-no-think" else {"of": name, "digest": digest(form(text))}
        conversations = CONVERSATIONS + THOUGHTS if template not in seen else CONVERSATIONS[1:3] + CONVERSATIONS[6:7] + THOUGHTS[1:4]
        seen.add(template)
        if "COUNT" in os.environ:
            made = random_conversations(int(os.environ["COUNT"]), f"{name} {template} {os.environ.get('SEED')}")
            conversations, besides = [], [x for x in made if x[0] is None or template not in NO_SYSTEM]
        else:
            besides = [x for x in BESIDE if template in THINKS]
        for system, turns in conversations:
            if system is not None and template in NO_SYSTEM:
                continue
            options = {"enable_thinking": False} if template == "qwen3-no-think" else {}
            tokenizer = tokenizers[place]
            got = by_template(tokenizer, text, end or tokenizer.eos_token, system, turns, name == "ollama library/gemma3:1b", options)
            yield {"template": template, **own, "tokenizer": place, "system": system, "turns": turns} | got
        for system, turns, beside in besides:
            if template not in THINKS:
                beside = None
            options = {"enable_thinking": False} if template == "qwen3-no-think" else {}
            got = by_template(tokenizers[place], text, end or tokenizers[place].eos_token, system, turns, name == "ollama library/gemma3:1b", options, beside)
            yield {"template": template, **own, "tokenizer": place, "system": system, "turns": turns, "beside": beside} | got


def main(directory, base, sources):
    from transformers import AutoTokenizer
    tokenizers = {name: AutoTokenizer.from_pretrained(f"{directory}/{name}") for name in make_tokenizers(directory, base)}
    texts = automap(sources) | openvino(sources)
    with open(f"{sources}/trl/trl/chat_templates/qwen3_instruct_2507.jinja", encoding="utf-8") as f:
        texts["trl qwen3_instruct_2507"] = f.read()
    with open(f"{directory}/families.jsonl", "w", encoding="utf-8") as f:
        for case in cases(texts, tokenizers):
            f.write(json.dumps(case, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
