#!/usr/bin/env python3
"""Computes mean losses by each protocol's definition, for tests/cli/ppl.bats.

usage: ppl_losses.py OUT_DIR BNB_DIR        (environment: see README.md)

The model is BNB_DIR/model (bnb.py) with its NF4 weights dequantized to f32, in transformers. OUT_DIR/tokens.bin
is the data, as 16-bit numbers. OUT_DIR/losses.json has protocol, context, options, the mean loss and its standard error.
longqlora and longlora do the same as the original evaluation scripts: the labels of a window are its ids, each window is a
batch, and the result is the mean of the model's own losses. huggingface is the loop of the guide "Perplexity of fixed-length
models" in the documentation of transformers 5.24.0: labels of tokens that were scored before are -100, and the model's own
loss is weighted with the number of labels less one.
"""
import json
import os
import sys

import made
import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

out, bnb = sys.argv[1], sys.argv[2]
os.makedirs(out, exist_ok=True)
packed = AutoModelForCausalLM.from_pretrained(f"{bnb}/model", device_map="cpu", dtype=torch.float32)
state = dict(packed.state_dict())
for name, module in packed.named_modules():
    if isinstance(module, Linear4bit):
        state[f"{name}.weight"] = dequantize_4bit(module.weight.data, module.weight.quant_state).float()
config = json.load(open(f"{bnb}/model/config.json"))
config.pop("quantization_config")
model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager")).eval()
model.load_state_dict({n: t for n, t in state.items() if ".weight." not in n})
N, VOCAB, BOS = 9000, 48, 1
ids = made.tokens(N, VOCAB)
ids.astype(np.uint16).tofile(f"{out}/tokens.bin")
ids = torch.from_numpy(ids)


@torch.no_grad()
def by_row(window):
    """Returns the loss of each prediction of a window."""
    logits = model(window[None]).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, window[1:], reduction="none").double()


@torch.no_grad()
def whole(window):
    return float(model(input_ids=window[None], labels=window[None]).loss)


def result(protocol, context, sums, counts, **options):
    sums, counts = np.array(sums), np.array(counts)
    mean = sums.sum() / counts.sum()
    used = counts > 0
    w = used.sum()
    error = np.sqrt(((sums - mean * counts) ** 2).sum() * w / (w - 1)) / counts.sum()
    print(protocol, context, mean, error, counts.sum())
    return dict(protocol=protocol, context=context, options=options, nll=mean, stderr=error, scored=int(counts.sum()))


def sliding(context, stride, tokens, **options):
    sums, counts, seen = [], [], 0
    for s in range(0, tokens - context + 1, stride):
        rows = by_row(ids[s:s + context])
        first = max(seen - s - 1, 0)  # rows whose token was not predicted before
        sums.append(float(rows[first:].sum()))
        counts.append(len(rows) - first)
        seen = s + context
    return result("sliding", context, sums, counts, stride=stride, **options)


@torch.no_grad()
def huggingface(context, stride, tokens, **options):
    """Runs the guide's loop. The predictions are counted separately, because the loop counts one too few in a window."""
    sums, counts, scored, prev_end_loc = [], [], 0, 0
    for begin_loc in range(0, tokens, stride):
        end_loc = min(begin_loc + context, tokens)
        trg_len = end_loc - prev_end_loc
        input_ids = ids[None, begin_loc:end_loc]
        target_ids = input_ids.clone()
        target_ids[:, :-trg_len] = -100
        loss = model(input_ids, labels=target_ids).loss
        num_loss_tokens = (target_ids != -100).sum().item() - 1
        sums.append(float(loss) * num_loss_tokens)
        counts.append(num_loss_tokens)
        scored += int((target_ids[:, 1:] != -100).sum())
        prev_end_loc = end_loc
        if end_loc == tokens:
            break
    r = result("huggingface", context, sums, counts, stride=stride, **options)
    return dict(r, scored=scored)


results = []
for context in (16, 64):
    for protocol, stride in (("longqlora", context), ("longlora", 256)):
        starts = list(range(0, N - context, stride))[:-1]
        losses = [whole(ids[s:s + context]) for s in starts]
        r = result(protocol, context, [loss * (context - 1) for loss in losses], [context - 1] * len(losses))
        assert abs(r["nll"] - np.mean(losses)) < 1e-9
        assert abs(r["stderr"] - np.std(losses, ddof=1) / np.sqrt(len(losses))) < 1e-9
        results.append(r)
    results.append(sliding(context, 5, N))
    sums, counts = [], []
    for s in range(0, N // context * context, context):
        window = ids[s:s + context].clone()
        window[0] = BOS
        rows = by_row(window)[context // 2:]
        sums.append(float(rows.sum()))
        counts.append(len(rows))
    results.append(result("llamacpp", context, sums, counts))
for context, short, stride in ((64, 16, 4), (50, 8, 3)):
    sums, counts = [], []
    for s in range(0, N // context * context, context):
        window = ids[s:s + context]
        full = by_row(window)
        alone = full.clone()
        row = short - 1
        while row < context - 1:
            end = min(row + 1 + stride, context)
            alone[row:end - 1] = by_row(window[end - short:end])[row - (end - short):]
            row = end - 1
        key = (full < 2) & (alone - full > 2)
        sums.append(float(full[key].sum()))
        counts.append(int(key.sum()))
    results.append(result("longppl", context, sums, counts, short_context=short, stride=stride))
# Adjacent windows, on a text that ends with a whole window, and on one that does not.
results.append(sliding(16, 16, 64, max_tokens=64))
for context, stride, tokens in ((16, 16, 64), (16, 5, 64), (16, 16, 70), (64, 64, 9000), (64, 32, 9000), (16, 7, 9000)):
    options = {} if tokens == N else dict(max_tokens=tokens)
    results.append(huggingface(context, stride, tokens, **options))
json.dump(results, open(f"{out}/losses.json", "w"), indent=1)
