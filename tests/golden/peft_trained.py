#!/usr/bin/env python3
"""Loads adapters of `train` with LoRA on embedding and head in PEFT. The logits must be those that our programs compute.

usage: peft_trained.py DIR BIN BUILD      (by hand; environment: see README.md)

Bases are those of peft_random.py, tied and not, of LLaMA and Gemma 3. Each adapter is trained for three steps. PEFT's logits are
compared with ours, with the adapter applied and merged.
"""
import os
import subprocess
import sys

import peft_random as random_cases

directory, bin_dir, build = sys.argv[1:]
DATA = """{"longqlora":1,"kind":"tokens","tokenizer":{"digest":"","vocab_size":40,"bos":1,"eos":2},"dtype":"u16","add_bos":false,"add_eos":false}
{"id":"a","source":"","tokens":[1,5,7,9,11,3,8,20,30,12,13,14,15,16,17,18,5,6]}
{"end":true,"records":1}
"""
RECIPES = ["target_modules=q_proj,embed_tokens,lm_head", "target_modules=embed_tokens", "target_modules=lm_head",
           "target_modules=q_proj,lm_head train_embedding=embedding"]


def run(*words, **more):
    return subprocess.run(words, check=True, **more)


os.makedirs(directory, exist_ok=True)
os.chdir(directory)
with open("few.tok", "wb") as to:
    run(f"{bin_dir}/tokenize", "--quiet", "--from", "jsonl", "--to", "stream", input=DATA.encode(), stdout=to)
run(f"{bin_dir}/pack", "--quiet", "--context", "8", "--strategy", "split", "few.tok", "-o", "few.smp")
open("lora.yaml", "w").write("method: lora\n")
worst = 0
for number, (tied, family, recipe) in enumerate((t, f, r) for t in (False, True) for f in (None, "gemma3") for r in RECIPES):
    kind = random_cases.Kind("trained", tied=tied, more=random_cases.FAMILIES[family] if family else {})
    base, adapter, merged = f"base{number}", f"run{number}", f"merged{number}"
    random_cases.write_base(base, kind)
    run(f"{bin_dir}/train", "lora.yaml", "--quiet", "--device", "cpu", "quantization=none", f"model_name_or_path={base}",
        "train_file=few.smp", f"output_dir={adapter}", "max_steps=3", "lora_rank=4", "learning_rate=0.05", *recipe.split())
    run(f"{bin_dir}/merge", "--quiet", "--base", base, "--adapter", adapter, "-o", merged, "--dtype", "f32")
    exact = random_cases.reference(adapter, base, kind)
    for words in ((base, str(random_cases.TOKENS), adapter), (merged, str(random_cases.TOKENS))):
        raw = run(f"{build}/tests/bench/logits", *words, capture_output=True).stdout
        worst = max(worst, random_cases.apart(raw, exact))
    print("tied" if tied else "    ", family or "llama", recipe, f"{worst:.1e}", flush=True)
assert worst < 2e-5
