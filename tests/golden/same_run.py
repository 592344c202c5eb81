#!/usr/bin/env python3
"""Runs one LongQLoRA training with the original's software, for tests/cli/same_run.bats.

usage: same_run.py OUT_DIR BIN_DIR        (environment: see README.md)

Makes OUT_DIR/base (random weights in f16) and OUT_DIR/samples.jsonl. Then it trains a LoRA adapter
on the NF4 of that base, dequantized to f32, with transformers' LlamaForCausalLM, peft's LoraModel,
torch's AdamW and transformers' schedule. OUT_DIR/losses.json has the loss of each of 100 steps,
OUT_DIR/adapter_model.safetensors the final adapter. Attention is the original's shifted short
attention in the variant that does not wrap. BIN_DIR's programs only quantize the base and make the
initial adapter, which both runs share.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, get_constant_schedule_with_warmup
from transformers.models.llama import modeling_llama

out, bin_dir = sys.argv[1], os.path.abspath(sys.argv[2])
CONTEXT, GROUP, SAMPLES, ACCUMULATION, STEPS, RANK, ALPHA, RATE, WARMUP, CLIP = 64, 16, 8, 8, 100, 8, 16, 2e-3, 20, 0.3
torch.manual_seed(11)
config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=256, hidden_size=32,
              intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, hidden_act="silu",
              max_position_embeddings=32, rms_norm_eps=1e-5, tie_word_embeddings=False, initializer_range=0.02,
              bos_token_id=1, eos_token_id=2)


def make_inputs():
    os.makedirs(f"{out}/base", exist_ok=True)
    model = LlamaForCausalLM(LlamaConfig(**config))
    state = {n: (torch.randn_like(v) * 0.15 + ("norm" in n)).half() for n, v in model.state_dict().items() if "inv_freq" not in n}
    save_file(state, f"{out}/base/model.safetensors", {"format": "pt"})
    json.dump({**config, "torch_dtype": "float16"}, open(f"{out}/base/config.json", "w"))
    # The text has some order, so that it can be learned: each token is near a function of the last one.
    samples = []
    for _ in range(SAMPLES):
        tokens = [1]
        while len(tokens) < CONTEXT:
            noise = int(torch.randint(0, 4, (1,)))
            tokens.append(3 + (tokens[-1] * 5 + 7 + noise) % 253)
        samples.append(tokens)
    with open(f"{out}/samples.jsonl", "w") as file:
        def line(value):
            file.write(json.dumps(value, separators=(",", ":")) + "\n")
        line({"longqlora": 1, "kind": "tokens", "tokenizer": {"digest": "", "vocab_size": 256, "bos": 1, "eos": 2},
              "dtype": "u16", "add_bos": True, "add_eos": False, "tool": "same_run.py", "version": "1", "options": {}})
        for i, tokens in enumerate(samples):
            line({"id": str(i), "source": "made", "tokens": tokens})
        line({"end": True, "records": SAMPLES})
    return torch.tensor(samples)


def run(*words):
    subprocess.run([f"{bin_dir}/{words[0]}", *words[1:], "--quiet"], check=True)


def shared_start(work):
    """Returns the dequantized base, and the adapter with which our run begins, too."""
    run("quantize", f"{out}/base", "-o", f"{work}/base.nf4")
    run("pack", "--from", "jsonl", "--context", str(CONTEXT), f"{out}/samples.jsonl", "-o", f"{work}/samples")
    open(f"{work}/r.yaml", "w").write("method: lora\n")
    run("train", f"{work}/r.yaml", f"model_name_or_path={work}/base.nf4", f"train_file={work}/samples", f"output_dir={work}/start",
        "max_steps=1", "learning_rate=0", "attention=full", f"lora_rank={RANK}", f"lora_alpha={ALPHA}", "seed=5")
    run("merge", "--base", f"{work}/base.nf4", "--adapter", f"{work}/start", "--dtype", "f32", "-o", f"{work}/base")
    return load_file(f"{work}/base/model.safetensors"), load_file(f"{work}/start/adapter_model.safetensors")


def shifted_short_mask():
    rows = torch.arange(CONTEXT)
    half = GROUP // 2
    plain = rows // GROUP
    shifted = (rows + half) // GROUP
    masks = []
    for head in range(config["num_attention_heads"]):
        group = plain if head < config["num_attention_heads"] // 2 else shifted
        masks.append((rows[None] <= rows[:, None]) & (group[None] == group[:, None]))
    return torch.stack(masks)[None]


MASK = shifted_short_mask()


def attention(self, hidden_states, attention_mask=None, position_ids=None, past_key_value=None, **_):
    b, t, _ = hidden_states.shape
    q, k, v = (p(hidden_states).view(b, t, self.num_heads, self.head_dim).transpose(1, 2)
               for p in (self.q_proj, self.k_proj, self.v_proj))
    cos, sin = self.rotary_emb(v, seq_len=t)
    q, k = modeling_llama.apply_rotary_pos_emb(q, k, cos, sin, position_ids)
    scores = (q @ k.transpose(2, 3)) / math.sqrt(self.head_dim)
    weights = torch.softmax(scores.masked_fill(~MASK, float("-inf")), -1, dtype=torch.float32)
    return self.o_proj((weights @ v).transpose(1, 2).reshape(b, t, -1)), None, None


samples = make_inputs()
with tempfile.TemporaryDirectory() as work:
    base, start = shared_start(work)
modeling_llama.LlamaAttention.forward = attention
model = LlamaForCausalLM(LlamaConfig(**config, rope_scaling={"type": "linear", "factor": CONTEXT / 32}))
missing, unexpected = model.load_state_dict(base, strict=False)
assert not unexpected and all("inv_freq" in n for n in missing), (missing, unexpected)
model = get_peft_model(model, LoraConfig(
    r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
named = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
assert named.keys() == start.keys(), named.keys() ^ start.keys()
with torch.no_grad():
    for name, value in start.items():
        named[name].copy_(value)
optimizer = torch.optim.AdamW(named.values(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
schedule = get_constant_schedule_with_warmup(optimizer, WARMUP)
losses = []
for _ in range(STEPS):
    total = 0.0
    for sample in samples:
        loss = model(input_ids=sample[None], labels=sample[None]).loss / ACCUMULATION
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(named.values(), CLIP)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    losses.append(total)
json.dump([round(x, 7) for x in losses], open(f"{out}/losses.json", "w"), indent=0)
save_file({n: p.detach().contiguous() for n, p in named.items()}, f"{out}/adapter_model.safetensors")
print(losses[0], losses[-1])
