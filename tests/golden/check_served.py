#!/usr/bin/env python3
"""check_served.py make|load PLACE BIN - checks that transformers serves the unedited files of train and merge. It is run by hand.

make: makes a LLaMA and a Qwen2 of random weights in PLACE, with a tokenizer, its vocab.json and merges.txt, a chat template
and a generation_config.json. It trains an adapter on the NF4 of each, with and without twice the context, and merges them.
load: is run in transformers 4.31 with PEFT 0.4, and in transformers 5 with PEFT 0.21. It opens the merged directory by its
name alone. Greedy text, tokens, template, context and end tokens must be those of our programs. AutoPeftModel must open the
adapter by its name alone, and find the base. Prints a table, and exits with 1 if something differs.
make needs tokenizers 0.23.3.
"""
import json
import os
import subprocess
import sys

mode, place, binary = sys.argv[1:4]
TEXT = "The adapter is merged, and the context of 256 tokens is served: it's don't 12 34.\n" * 40
TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             rms_norm_eps=1e-5, hidden_act="silu", max_position_embeddings=128, initializer_range=0.1, rope_theta=10000.0)
CASES = {"llama": ("Llama", "gpt-2"), "qwen2": ("Qwen2", "qwen2")}
COMPANIONS = ["tokenizer.json", "vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja", "special_tokens_map.json"]
wrong = 0


def run(program, *options):
    return subprocess.run([f"{binary}/{program}", "--quiet", *map(str, options)], check=True, stdout=subprocess.PIPE).stdout


def say(ok, *words):
    global wrong
    wrong += not ok
    print("ok   " if ok else "WRONG", *words, flush=True)


def make(name):
    import patterns

    kind, pattern = CASES[name]
    to = f"{place}/{name}"
    os.makedirs(f"{to}/tok")
    made = patterns.train(pattern, TEXT.splitlines(keepends=True), 400)
    ids = {t["content"]: t["id"] for t in made["added_tokens"]}
    for token in "<|endoftext|>", "<|im_start|>", "<|im_end|>":
        if token not in ids:
            ids[token] = max([len(made["model"]["vocab"]) - 1, *ids.values()]) + 1
            made["added_tokens"].append({"id": ids[token], "content": token, "special": True, "single_word": False,
                                         "lstrip": False, "rstrip": False, "normalized": False})
    # The tokenizers library of 4.31 needs each merge as a text, and does not know ignore_merges.
    merges = [m if isinstance(m, str) else " ".join(m) for m in made["model"]["merges"]]
    made["model"] = {k: v for k, v in {**made["model"], "merges": merges}.items() if k != "ignore_merges"}
    ends = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    for file, what in {
            "tokenizer.json": made, "vocab.json": made["model"]["vocab"],
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 128,
                                      "chat_template": TEMPLATE},
            "special_tokens_map.json": {"eos_token": "<|endoftext|>"},
            "generation_config.json": {"eos_token_id": ends, "do_sample": False, "pad_token_id": ends[1]}}.items():
        json.dump(what, open(f"{to}/tok/{file}", "w"))
    open(f"{to}/tok/merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")
    open(f"{to}/tok/chat_template.jinja", "w").write(TEMPLATE)
    open(f"{to}/text", "w").write(TEXT)
    json.dump({"architectures": [f"{kind}ForCausalLM"], "model_type": name, "vocab_size": max(ids.values()) + 1, "bos_token_id": ends[1],
               "eos_token_id": ends[1], **SIZES}, open(f"{to}/config.json", "w"))
    run("tokenize", "--format", "text", "-m", f"{to}/tok", f"{to}/text", "-o", f"{to}/text.tok")
    for context in 128, 256:
        run("pack", "--context", context, "--strategy", "split", f"{to}/text.tok", "-o", f"{to}/{context}.smp")
    open(f"{to}/full.yaml", "w").write("method: full\n")
    open(f"{to}/lora.yaml", "w").write("method: lora\n")
    run("train", f"{to}/full.yaml", "from_scratch=true", "attention=full", f"model_name_or_path={to}/config.json", f"tokenizer={to}/tok",
        f"train_file={to}/128.smp", f"output_dir={to}/base", "max_steps=30", "learning_rate=0.005", "--device", "cpu")
    run("quantize", f"{to}/base", "-o", f"{to}/base.nf4")
    for out, rope, context in ("run", "linear:2", 256), ("plain", "none", 128):
        run("train", f"{to}/lora.yaml", f"model_name_or_path={to}/base.nf4", f"tokenizer={to}/base", f"train_file={to}/{context}.smp",
            f"output_dir={to}/{out}", "max_steps=5", "learning_rate=0.01", f"rope={rope}", "attention=full", "--device", "cpu")
    run("merge", "--base", f"{to}/base", "--adapter", f"{to}/run", "-o", f"{to}/merged")


def texts_of(model, tokenizer, prompt, count=12):
    import torch

    ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)


def ours(prompt, *options):
    return run("generate", *options, "-p", prompt, "--temperature", "0", "--max-new-tokens", "12", "--device", "cpu").decode().rstrip("\n")


def load(name):
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    to, prompt = f"{place}/{name}", "The adapter is merged, and"
    new = int(transformers.__version__.split(".")[0]) >= 5
    merged = f"{to}/merged"
    for file in COMPANIONS:
        same = open(f"{to}/base/{file}", "rb").read() == open(f"{merged}/{file}", "rb").read()
        say(same, name, file, "travels as it is")
    tokenizer = AutoTokenizer.from_pretrained(merged)
    own = next(j["tokens"] for j in map(json.loads, run("tokenize", "--format", "text", "-m", merged, "--to", "jsonl", f"{to}/text").splitlines())
               if "tokens" in j)
    say(tokenizer(TEXT, add_special_tokens=False)["input_ids"] == own, name, len(own), "tokens")
    say(tokenizer.model_max_length == 256, name, "model_max_length", tokenizer.model_max_length)
    if new:  # 4.31 has no chat_template
        got = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
        say(got == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", name, "chat template")
    ends = GenerationConfig.from_pretrained(merged).eos_token_id
    say(ends == json.load(open(f"{to}/base/generation_config.json"))["eos_token_id"], name, "generation_config's ends", ends)
    rope = AutoConfig.from_pretrained(merged)
    say("linear" in str(getattr(rope, "rope_scaling", None) or getattr(rope, "rope_parameters", None)), name, "positions", rope.max_position_embeddings)
    model, info = AutoModelForCausalLM.from_pretrained(merged, output_loading_info=True)
    missing = [k for k in info["missing_keys"] if not k.endswith("inv_freq")]  # 4.31 computes these anew
    say(not missing and not info["unexpected_keys"], name, "merged: all weights are used")
    long = TEXT[:600]
    for text in prompt, long:
        wanted = ours(text, "-m", merged)
        got = texts_of(model.float(), tokenizer, text)
        say(got.strip() == wanted.strip(), name, "greedy text", repr(got), repr(wanted))
    from peft import AutoPeftModelForCausalLM

    config = json.load(open(f"{to}/plain/adapter_config.json"))
    say(os.path.basename(config["base_model_name_or_path"]) == "base", name, "the adapter names", config["base_model_name_or_path"])
    adapted = AutoPeftModelForCausalLM.from_pretrained(f"{to}/plain").float()
    got, wanted = texts_of(adapted, tokenizer, prompt), ours(prompt, "-m", f"{to}/base", "--adapter", f"{to}/plain")
    say(got.strip() == wanted.strip(), name, "AutoPeftModel: greedy text", repr(got), repr(wanted))
    del torch


for case in CASES:
    if mode == "make":
        make(case)
        continue
    import transformers

    if case == "llama" or int(transformers.__version__.split(".")[0]) >= 5:
        load(case)
sys.exit(wrong != 0)
