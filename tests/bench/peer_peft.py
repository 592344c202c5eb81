#!/usr/bin/env python3
"""Measures the training speed of Hugging Face PEFT on a LLaMA of random weights.

usage: peer_peft.py CONFIG.json CONTEXT STEPS [cuda|cpu [nf4|bf16|f32]]        (torch, transformers, peft, bitsandbytes)

LoRA has rank 64 on every linear layer, with gradient checkpointing and AdamW. A step has one sample. Attention is PyTorch's
scaled_dot_product_attention. Products are in bf16 unless the base is in f32. Without the last argument the base is in 4 bits
if bitsandbytes can be imported, else in bf16.
Prints one JSON object: tokens a second without the first step, peak memory, versions.
"""
import contextlib
import json
import resource
import sys
import time

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

device = sys.argv[4] if len(sys.argv) > 4 else "cuda"
wanted = sys.argv[5] if len(sys.argv) > 5 else ""
config, context, steps = json.load(open(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
config = LlamaConfig(**{k: v for k, v in config.items() if k not in ("architectures", "model_type", "torch_dtype")})
config.max_position_embeddings = max(config.max_position_embeddings, context)
config._attn_implementation = "sdpa"
torch.manual_seed(1)
torch.set_default_dtype(torch.float32 if wanted == "f32" else torch.bfloat16)
with torch.device(device):
    model = LlamaForCausalLM(config)
torch.set_default_dtype(torch.float32)
base = wanted or "bf16"
try:
    if wanted not in ("", "nf4"):
        raise ImportError
    import bitsandbytes as bnb

    for name, module in list(model.model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent = model.model.get_submodule(name.rpartition(".")[0])
            four = bnb.nn.Linear4bit(module.in_features, module.out_features, bias=False, compute_dtype=torch.bfloat16,
                                     compress_statistics=True, quant_type="nf4")
            four.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4")
            setattr(parent, name.rpartition(".")[2], four.to(device))
    base = "nf4, bitsandbytes " + bnb.__version__
except ImportError:
    if wanted == "nf4":
        raise
model.config.use_cache = False
model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
model.enable_input_require_grads()
model = get_peft_model(model, LoraConfig(r=64, lora_alpha=16, lora_dropout=0.05, bias="none", task_type="CAUSAL_LM",
                                         target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-4)
model.train()
is_cuda = device == "cuda"
synchronize = torch.cuda.synchronize if is_cuda else lambda: None
if is_cuda:
    torch.cuda.reset_peak_memory_stats()
times = []
for _ in range(steps + 1):
    ids = torch.randint(0, config.vocab_size, (1, context), device=device)
    synchronize()
    start = time.perf_counter()
    with contextlib.nullcontext() if base == "f32" else torch.autocast(device, dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 0.3)
    optimizer.step()
    optimizer.zero_grad()
    synchronize()
    times.append(time.perf_counter() - start)
peak = torch.cuda.max_memory_allocated() if is_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"peer": "PEFT", "device": device, "context": context, "base": base, "tokens_per_second": round(context * steps / sum(times[1:]), 1),
                  "peak_bytes": peak, "loss": round(float(loss.detach()), 4),
                  "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}}))
