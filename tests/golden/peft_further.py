"""Trains adapters further, with PEFT and with `train`, and compares every tensor after three steps. Run by hand.

The adapters train biases, norms, or LoRA on embedding and head, or PEFT stored embedding and head without being asked.

    python peft_further.py DIR BIN      (transformers 5.24.0, peft 0.21.2, PyTorch 2.15.0; DIR is made)
"""
import json
import os
import subprocess
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

STEPS, SAMPLES, CONTEXT, RATE = 3, 4, 48, 0.01
LLAMA = (LlamaForCausalLM, LlamaConfig, dict(attention_bias=True, mlp_bias=True))
QWEN2 = (Qwen2ForCausalLM, Qwen2Config, {})
TIED = (LlamaForCausalLM, LlamaConfig, dict(tie_word_embeddings=True))
THREE = ["q_proj", "v_proj", "down_proj"]
# name: (family, options of LoraConfig, save_embedding_layers)
CASES = {
    "qwen2-all": (QWEN2, dict(target_modules=THREE, bias="all"), "auto"),
    "qwen2-lora-only": (QWEN2, dict(target_modules=THREE, bias="lora_only"), "auto"),
    "llama-all": (LLAMA, dict(target_modules=THREE, bias="all"), "auto"),
    "llama-lora-only": (LLAMA, dict(target_modules=THREE, bias="lora_only"), "auto"),
    "negative": (LLAMA, dict(target_modules=THREE, lora_alpha=-8), "auto"),
    **{name + mark: (family, *case) for mark, family in (("", LLAMA), ("-tied", TIED)) for name, case in {
        "norm": (dict(target_modules=THREE, modules_to_save=["model.norm"]), "auto"),
        "stored": (dict(target_modules=["q_proj"]), True),
        "head": (dict(target_modules=["q_proj", "lm_head"]), "auto"),
        "embedding": (dict(target_modules=["q_proj", "embed_tokens"]), "auto"),
        "embedding-whole": (dict(target_modules=["q_proj", "lm_head"], modules_to_save=["embed_tokens"]), "auto"),
    }.items()},
}
RECIPE = """method: lora
quantization: none
attention: full
learning_rate: %g
lr_scheduler_type: constant
warmup_steps: 0
max_grad_norm: 1000
lora_dropout: 0
max_steps: %d
per_device_train_batch_size: %d
gradient_accumulation_steps: 1
""" % (RATE, STEPS, SAMPLES)


def randomise(model, words, scale):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if any(w in name for w in words):
                p.normal_(0, scale)


def one(place, bin, name):
    (model, config, own), options, tables = CASES[name]
    torch.manual_seed(1)
    base = model(config(vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                        max_position_embeddings=64, initializer_range=0.2, **own))
    randomise(base, [".bias"], 0.3)
    base.save_pretrained(f"{place}/base")
    adapted = get_peft_model(base, LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **options}))
    randomise(adapted, ["lora_B", "lora_embedding_A", *([".bias"] if "bias" in options else [])], 0.2)
    adapted.save_pretrained(f"{place}/before", save_embedding_layers=tables)
    ids = torch.randint(3, 48, (SAMPLES, CONTEXT))
    head = dict(longqlora=1, kind="tokens", tokenizer=dict(digest="", vocab_size=48, bos=1, eos=2), dtype="u16", add_bos=False, add_eos=False)
    lines = [head, *(dict(id=f"d:{i}", source="", tokens=t) for i, t in enumerate(ids.tolist())), dict(end=True, records=SAMPLES)]
    subprocess.run([f"{bin}/pack", "--quiet", "--from", "jsonl", "--context", str(CONTEXT), "-o", f"{place}/smp"], check=True, text=True,
                   input="".join(json.dumps(o) + "\n" for o in lines))
    open(f"{place}/r.yaml", "w").write(RECIPE)
    subprocess.run([f"{bin}/train", f"{place}/r.yaml", "--quiet", f"model_name_or_path={place}/base", f"adapter_name_or_path={place}/before",
                    f"train_file={place}/smp", f"output_dir={place}/after", "--device", "cpu"], check=True)

    theirs = PeftModel.from_pretrained(model.from_pretrained(f"{place}/base"), f"{place}/before", is_trainable=True)
    trained = [p for p in theirs.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0)
    for _ in range(STEPS):
        loss = theirs(ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    theirs.save_pretrained(f"{place}/theirs", save_embedding_layers=tables)
    a, b, before = (load_file(f"{place}/{n}/adapter_model.safetensors") for n in ("after", "theirs", "before"))
    # Copies of the base's tables are not written. PEFT has not changed them.
    copies = {n for n in b if n not in a and "lora" not in n and torch.equal(b[n], before[n])}
    assert a.keys() | copies == b.keys() and all("embed_tokens" in n or "lm_head" in n for n in copies), a.keys() ^ b.keys()
    assert json.load(open(f"{place}/after/adapter_config.json"))["bias"] == options.get("bias", "none")
    worst = max(float((a[n] - b[n]).abs().max()) for n in a)
    moved = min(float((b[n] - before[n]).abs().max()) for n in a)
    print(f"{name}: {len(a)} tensors, each moved by at least {moved:.3g}; largest difference {worst:.3g}")
    assert worst < 2e-5 and moved > 0.005
    with torch.no_grad():
        back = PeftModel.from_pretrained(model.from_pretrained(f"{place}/base"), f"{place}/after")
        error = (back(ids).logits - theirs(ids).logits).abs().max() / theirs(ids).logits.abs().max()
    print(f"{name}: PEFT loads it: logits differ by {float(error):.3g} of the largest")
    assert error < 1e-4


def main(directory, bin):
    for name in CASES:
        os.makedirs(f"{directory}/{name}")
        one(f"{directory}/{name}", bin, name)


main(*sys.argv[1:])
