"""Tests added tokens through all programs, by hand: tokenize, pack, merge and quantize --resize-vocab, train, merge.
transformers and PEFT read the results, and must give the same ids and the same logits.

    python grown_model.py DIR BIN BUILD [FAMILY...]      (transformers 5.24.0, peft 0.21.2, PyTorch 2.15.0; DIR is made)

BUILD/tests/bench/logits must have been built. Prints the largest difference of each comparison, relative to the largest logit.
"""
import filecmp
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, AutoTokenizer, GraniteConfig, GraniteForCausalLM, LlamaConfig, LlamaForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS, TOKENS, PAD = 403, 100, 8
SPECIAL, PLAIN = ["<|im_start|>", "<|im_end|>"], ["<x1>", "<x2>", "<x3>"]
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, dict(tie_word_embeddings=False)),
    "llama-tied": (LlamaForCausalLM, LlamaConfig, dict(tie_word_embeddings=True)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, dict(tie_word_embeddings=False)),
    "granite-tied": (GraniteForCausalLM, GraniteConfig, dict(tie_word_embeddings=True, embedding_multiplier=3.0, logits_scaling=2.0)),
    "qwen3-tied": (Qwen3ForCausalLM, Qwen3Config, dict(tie_word_embeddings=True, head_dim=8)),
}
worst = 0.0


def run(*words, **more):
    subprocess.run([str(w) for w in words], check=True, **more)


def make_base(path, kind, dtype):
    model, config, own = FAMILIES[kind]
    torch.manual_seed(0)
    c = config(vocab_size=ROWS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
               num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, **own)
    model(c).to(dtype).save_pretrained(path)
    shutil.copy(f"{HERE}/tokenizer/spm.model", f"{path}/tokenizer.model")
    json.dump({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
               "add_bos_token": True, "legacy": False}, open(f"{path}/tokenizer_config.json", "w"))


def make_samples(base, tok, bin):
    options = [o for t in PLAIN for o in ("--add-token", t)] + [o for t in SPECIAL for o in ("--add-special-token", t)]
    run(f"{bin}/tokenize", "--quiet", "--model", base, *options, "--save-tokenizer", tok)
    turns = [{"messages": [{"role": "user", "content": f"the {i}<x1>"}, {"role": "assistant", "content": f"<x2>world {i} <x3>!"}]} for i in range(40)]
    with open(f"{tok}.jsonl", "w") as f:
        f.writelines(json.dumps(t) + "\n" for t in turns)
    run(f"{bin}/tokenize", "--quiet", "--model", tok, "--format", "chat", "--template", "chatml", f"{tok}.jsonl", "-o", f"{tok}.tok")
    run(f"{bin}/pack", "--quiet", "--context", 64, "--strategy", "best-fit", f"{tok}.tok", "-o", f"{tok}.smp")
    open(f"{tok}.yaml", "w").write("method: lora\nlearning_rate: 0.01\nlora_rank: 4\nmax_steps: 5\nattention: full\nmax_seq_length: 64\n")


def ours(build, *words):
    raw = subprocess.run([f"{build}/tests/bench/logits", words[0], str(TOKENS), *words[1:]], stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(raw, np.float32).reshape(TOKENS, -1)


def theirs(model):
    """Returns the tokens of tests/lib/synthetic_model.h."""
    sys.path.insert(0, HERE)
    import made
    rows = model.config.vocab_size
    ids = torch.from_numpy(np.asarray(made.tokens(TOKENS, rows), dtype=np.int64))[None]
    with torch.no_grad():
        return model(ids).logits[0].float().numpy()


def compare(what, a, b, bound=2e-5):
    global worst
    error = float(np.abs(a - b).max() / np.abs(b).max())
    worst = max(worst, error)
    print(f"{what}: {error:.3g}")
    assert a.shape == b.shape and error <= bound, what


def check_rows(base, grown):
    a, b = load_file(f"{base}/model.safetensors"), load_file(f"{grown}/model.safetensors")
    for name in a:
        n = a[name].shape[0]
        assert torch.equal(a[name], b[name][:n]), name
        if b[name].shape[0] == n:
            continue
        mean = a[name].to(torch.float64).mean(0).to(torch.float32).to(a[name].dtype)
        assert torch.equal(b[name][n:], mean.expand(b[name].shape[0] - n, -1)), name
    # transformers' own resizing, which adds noise of 1e-9 of the rows' covariance
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(grown)), pad_to_multiple_of=PAD)
    other = AutoModelForCausalLM.from_pretrained(grown, dtype=torch.float32)
    assert model.config.vocab_size == other.config.vocab_size
    compare("transformers' resize_token_embeddings", theirs(other), theirs(model), 1e-3)


def same_ids(place, kind, bin):
    if kind.startswith("qwen"):  # transformers reads every tokenizer of these families as Qwen's own, but this one is not
        return
    text = "<x1> the<|im_start|>user\nworld<|im_end|> <x2><x3>"
    line = subprocess.run([f"{bin}/tokenize", "--quiet", "--model", place, "--parse-special", "--to", "jsonl"], check=True,
                          input=json.dumps({"text": text}) + "\n", text=True, stdout=subprocess.PIPE).stdout.split("\n")[1]
    assert json.loads(line)["tokens"] == AutoTokenizer.from_pretrained(place)(text).input_ids


def single_tokens(place, resize, bin, build):
    """Makes an adapter with PEFT over the grown model. It trains only the rows of the new tokens."""
    model = AutoModelForCausalLM.from_pretrained(f"{place}/grown", dtype=torch.float32)
    torch.manual_seed(3)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM",
                                             trainable_token_indices=[404, 403, 405, 406, 407, 7]))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.normal_(0, 0.3)
    model.save_pretrained(f"{place}/tokens")
    run(f"{bin}/merge", "--quiet", "--base", f"{place}/base", *resize, "--rope", "none", "--adapter", f"{place}/tokens", "-o", f"{place}/tokens-merged")
    compare("single tokens", ours(build, f"{place}/grown", f"{place}/tokens"), theirs(model))
    compare("single tokens merged", ours(build, f"{place}/tokens-merged"), theirs(model), 2e-5)


def one(directory, bin, build, kind, dtype, trains):
    place = f"{directory}/{kind}-{trains}-{str(dtype)[6:]}"
    base, tok, grown = f"{place}/base", f"{place}/tok", f"{place}/grown"
    os.makedirs(place)
    print(place)
    make_base(base, kind, dtype)
    make_samples(base, tok, bin)
    resize = ["--resize-vocab", tok, "--pad-to-multiple-of", PAD]
    run(f"{bin}/merge", "--quiet", "--base", base, *resize, "-o", grown)
    check_rows(base, grown)
    same_ids(grown, kind, bin)
    compare("grown", ours(build, grown), theirs(AutoModelForCausalLM.from_pretrained(grown, dtype=torch.float32)))
    if dtype == torch.float32:
        single_tokens(place, resize, bin, build)
    run(f"{bin}/quantize", "--quiet", base, *resize, "-o", f"{place}/base.nf4")
    run(f"{bin}/quantize", "--quiet", grown, "-o", f"{place}/grown.nf4")
    # with a base in NF4, and without
    for name, of, quantization in (("nf4", f"{place}/base.nf4", "nf4"), ("plain", grown, "none")):
        adapter, merged = f"{place}/{name}", f"{place}/{name}-merged"
        run(f"{bin}/train", f"{tok}.yaml", f"quantization={quantization}", "--quiet", f"model_name_or_path={of}", f"train_file={tok}.smp",
            f"output_dir={adapter}", f"train_embedding={trains}", "--device", "cpu")
        run(f"{bin}/merge", "--quiet", "--base", base, *resize, "--adapter", adapter, "-o", merged)
        run(f"{bin}/merge", "--quiet", "--base", grown, "--adapter", adapter, "-o", f"{merged}-2")
        assert filecmp.cmp(f"{merged}/model.safetensors", f"{merged}-2/model.safetensors", shallow=False)
        same_ids(merged, kind, bin)
        compare(f"{name} merged", ours(build, merged), theirs(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)))
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(grown, dtype=torch.float32), adapter)
        compare(f"{name} in PEFT", ours(build, grown, adapter), theirs(model))
        if not kind.startswith("llama"):  # some other families cannot be written as GGUF
            continue
        run(f"{bin}/merge", "--quiet", "--base", base, *resize, "--adapter", adapter, "--to", "gguf", "--dtype", "f32", "-o", f"{merged}.gguf")
        compare(f"{name} as GGUF, and PEFT", ours(build, f"{merged}.gguf"), theirs(model))


def main(directory, bin, build, *kinds):
    os.makedirs(directory)
    for kind in FAMILIES if len(kinds) == 0 else kinds:
        for trains in ("true", "false"):
            one(directory, bin, build, kind, torch.float32, trains)
    one(directory, bin, build, "llama", torch.bfloat16, "true")
    print(f"worst {worst:.3g}")


main(*sys.argv[1:])
