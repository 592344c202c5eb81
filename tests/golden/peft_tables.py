#!/usr/bin/env python3
"""Trains LoRA on the embedding and the head with PEFT, for tests/unit/test_tables.c.

usage: peft_tables.py OUT_DIR        (environment: that of peft_cases.py, see README.md)

Models are those of made.py. All numbers of an adapter are made, and PEFT saves it as OUT_DIR/NAME. OUT_DIR/cases.json is a list
of {name, config, dropout}. results.safetensors has, for each name, the logits of the adapted model, the gradients of the mean
loss of TOKENS synthetic tokens, the losses of three steps of AdamW, and the matrices after them. Under dropout, PEFT's masks
are replaced by those of kernels.h (dropout_mask), so that the results can be compared.
"""
import json
import os
import shutil
import sys
import warnings

import made
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
out = sys.argv[1]
TOKENS, KEY, FIRST_ROW, PARTS_OF_LLAMA = 24, 0x123456789ABCDEF, 7, 12
LLAMA = dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_act="silu", rms_norm_eps=1e-5,
             tie_word_embeddings=False, rope_theta=10000.0)
GRANITE = {**LLAMA, "model_type": "granite", "architectures": ["GraniteForCausalLM"], "embedding_multiplier": 12.0,
           "attention_multiplier": 0.1, "residual_multiplier": 0.22, "logits_scaling": 13.0}
GEMMA3 = {**LLAMA, "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_activation": "gelu_pytorch_tanh",
          "rope_local_base_freq": 10000.0, "query_pre_attn_scalar": 50, "sliding_window": 8, "sliding_window_pattern": 2}
SMALL = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
             num_key_value_heads=1, head_dim=8, max_position_embeddings=64, pad_token_id=None)
Q, E, H = "q_proj", "embed_tokens", "lm_head"
# name: (config, options of LoraConfig)
CASES = {
    "both": (LLAMA, dict(target_modules=[Q, E, H])),
    "embedding-tied": ({**LLAMA, "tie_word_embeddings": True}, dict(target_modules=[Q, E])),
    "head-tied": ({**LLAMA, "tie_word_embeddings": True}, dict(target_modules=[H])),
    "both-tied-rs": ({**LLAMA, "tie_word_embeddings": True}, dict(target_modules=[Q, E, H], use_rslora=True, rank_pattern={H: 3})),
    "gemma3": ({**GEMMA3, "tie_word_embeddings": True}, dict(target_modules=[Q, E, H])),
    "granite": (GRANITE, dict(target_modules=[E, H], alpha_pattern={E: 2})),
    "head-embedding-whole": (LLAMA, dict(target_modules=[Q, H], modules_to_save=[E])),
    "dropout": (LLAMA, dict(target_modules=[Q, E, H], lora_dropout=0.25)),
}


def philox(key, block, stream):
    """Philox4x32-10 of lib/common/philox.h, for an array of blocks."""
    mask = np.uint64(0xFFFFFFFF)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    c = [block & mask, block >> np.uint64(32), np.full_like(block, stream & 0xFFFFFFFF), np.zeros_like(block)]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & mask, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def keep(rows, dim, stream, p):
    e = np.arange(FIRST_ROW * dim, (FIRST_ROW + rows) * dim, dtype=np.uint64)
    words = np.stack(philox(KEY, e // np.uint64(8), stream))
    lane = (e % np.uint64(8)).astype(np.int64)
    draw = words[lane // 2, np.arange(len(e))] >> (16 * (lane % 2)).astype(np.uint64) & np.uint64(0xFFFF)
    return (draw >= np.uint64(p * 65536)).reshape(rows, dim)


class Masked(torch.nn.Module):
    def __init__(self, stream, p):
        super().__init__()
        self.stream, self.p = stream, p

    def forward(self, x):
        kept = torch.from_numpy(keep(x.shape[-2], x.shape[-1], self.stream, self.p))
        return torch.where(kept, x / (1 - self.p), torch.zeros(()))


def spelled(name):
    return name.replace(".default", "").replace(".modules_to_save", "")


def run(name, config, options, number):
    config = {**config, **SMALL}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager")
    state = {n: torch.from_numpy(a) for n, a in made.weights(config).items()}
    lacks = model.load_state_dict(state, strict=False)
    assert not lacks.unexpected_keys and set(lacks.missing_keys) <= {"lm_head.weight"}, lacks
    model.tie_weights()
    model = get_peft_model(model.float(), LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **options))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for i, (n, p) in enumerate(trained.items()):
            moved = torch.from_numpy(made.numbers(40000 + 100 * number + i, p.numel()).astype(np.float32)).view(p.shape) / 4
            p.copy_(moved if "lora" in n else p + moved / 2)
    model.base_model.model.config._name_or_path = "made"
    model.peft_config["default"].base_model_name_or_path = "made"
    # The copies of the base's tables are left out, except in one case.
    model.save_pretrained(f"{out}/{name}", save_embedding_layers=name == "both")
    os.remove(f"{out}/{name}/README.md")
    p = options.get("lora_dropout", 0)
    for n, module in model.named_modules() if p else ():
        if n.endswith((f".{Q}", f".{H}")):
            module.lora_dropout["default"] = Masked(-1 if n.endswith(H) else 2, p)
    ids = torch.from_numpy(made.tokens(TOKENS, SMALL["vocab_size"]))[None]
    model.train()
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01, weight_decay=0.1)
    losses = []
    for step in range(3):
        result = model(input_ids=ids, labels=ids)
        result.loss.backward()
        losses.append(float(result.loss.detach()))
        if not step:
            yield f"{name}/logits", result.logits[0].detach().clone()
            for n, q in trained.items():
                yield f"{name}/gradient/{spelled(n)}", q.grad.clone()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    yield f"{name}/losses", torch.tensor(losses)
    for n, q in trained.items():
        yield f"{name}/after/{spelled(n)}", q.detach().clone()


shutil.rmtree(out, ignore_errors=True)
os.makedirs(out)
results, cases = {}, []
for number, (name, (config, options)) in enumerate(CASES.items()):
    results.update(run(name, config, options, number))
    cases.append(dict(name=name, config={**config, **SMALL}, dropout=options.get("lora_dropout", 0)))
json.dump(cases, open(f"{out}/cases.json", "w"), indent=1)
save_file({n: t.contiguous() for n, t in results.items()}, f"{out}/results.safetensors", {"format": "pt"})
