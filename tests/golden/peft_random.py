#!/usr/bin/env python3
"""Applies PEFT adapters of every kind, and 89 random ones, with PEFT and with our programs. Ours must give the same, or refuse.

usage: peft_random.py run DIR BIN BUILD [SEED]      (by hand; environment: see README.md)
       peft_random.py golden OUT_DIR                (the small choice that make test reads)

A kind is a set of LoraConfig's options on a synthetic model (made.py), tied or not, in f32, f16 or bf16. The tensors that PEFT
trains get synthetic numbers, and PEFT saves the adapter. Some are then stored as other programs do it (f16 and f64 tensors, names
that include the adapter's own name, pickles, defaults left out). For the reference, PeftModel.from_pretrained loads the
adapter over a fresh base, in f32 and unmerged. It is compared with our logits, with the adapter and of the merged directory.
golden writes some kinds with PEFT's logits, for tests/unit/test_adapters.c.
"""
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import warnings

import made
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import (BdLoraConfig, KasaConfig, MontecloraConfig, VeloraConfig)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

warnings.filterwarnings("ignore")
TOKENS = 12
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIG = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=40, hidden_size=16, intermediate_size=24,
              num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, hidden_act="silu",
              max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
QWEN2 = dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"])
QWEN3 = dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=8)
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64}


class Kind:
    """A case. options: those of LoraConfig. The other fields say how the base is, how the adapter is stored, and what is expected."""

    def __init__(self, name, options=None, tied=False, base="f32", stored="f32", named=False, pickled=False, grow=0,
                 embeddings="auto", drop=(), edit=None, convert=None, more=None):
        self.name, self.options, self.tied, self.base, self.stored = name, dict(options or {}), tied, base, stored
        self.named, self.pickled, self.grow, self.embeddings = named, pickled, grow, embeddings
        self.drop, self.edit, self.convert = drop, edit or {}, convert
        self.config = {**CONFIG, "tie_word_embeddings": tied, **(more or {})}
        self.options.setdefault("r", 4)
        self.options.setdefault("lora_alpha", 6)
        self.options.setdefault("task_type", "CAUSAL_LM")
        self.options.setdefault("target_modules", ["q_proj", "v_proj", "down_proj"])


def kinds():
    """Returns the cases that were chosen by hand."""
    two = ["q_proj", "down_proj"]
    yield Kind("plain")
    yield Kind("plain-f16", base="f16", stored="f16")
    yield Kind("plain-bf16", base="bf16", stored="bf16")
    yield Kind("plain-f64", stored="f64")
    yield Kind("pickled", pickled=True)
    yield Kind("named", named=True)
    yield Kind("defaults", dict(r=8, lora_alpha=8), drop=("r", "lora_alpha", "bias", "use_rslora", "init_lora_weights"))
    yield Kind("default-targets", dict(target_modules=None))
    yield Kind("all-linear", dict(target_modules="all-linear"))
    yield Kind("ALL-Linear", dict(target_modules="ALL-Linear"))
    yield Kind("regex", dict(target_modules=r".*\.(q_proj|up_proj)"))
    yield Kind("regex-layers", dict(target_modules=r"model\.layers\.[1-9]\d*\.self_attn\.[qk]_proj$"))
    yield Kind("regex-lazy", dict(target_modules=r"(?:.*?)mlp\.(?P<which>gate|down)_proj"))
    yield Kind("regex-ahead", dict(target_modules=r"(?!.*k_proj).*self_attn\.\w{1,1}_proj"))
    yield Kind("regex-head", dict(target_modules=r"(.*\.q_proj|lm_head)"))
    yield Kind("names", dict(target_modules=["model.layers.0.self_attn.q_proj", "layers.1.mlp.up_proj", "fc1"]))
    yield Kind("exclude", dict(target_modules=LINEARS, exclude_modules=["layers.0.mlp.up_proj", "q_proj"]))
    yield Kind("exclude-regex", dict(target_modules=LINEARS, exclude_modules=r".*layers\.1\..*"))
    yield Kind("layer", dict(layers_to_transform=1))
    yield Kind("layers", dict(target_modules=two, layers_to_transform=[0, 7], layers_pattern="layers"))
    yield Kind("layers-patterns", dict(target_modules=two, layers_to_transform=[1], layers_pattern=["h", "layers"]))
    yield Kind("layers-direct", dict(target_modules=["model.layers.0.mlp.up_proj", "q_proj"], layers_to_transform=[1]))
    yield Kind("ranks", dict(target_modules=LINEARS, rank_pattern={"q_proj": 2, "layers.1.mlp.up_proj": 6, "mlp..*": 3}))
    yield Kind("alphas", dict(alpha_pattern={"q_proj": 3, r"layers\.1\.self_attn\.v_proj": 9.5}))
    yield Kind("ranks-rs", dict(use_rslora=True, rank_pattern={"^model.layers.0.*v_proj": 2}, alpha_pattern={"down_proj": 5}))
    yield Kind("rs", dict(use_rslora=True), base="bf16")
    yield Kind("fan", dict(fan_in_fan_out=True))
    yield Kind("bias-all", dict(bias="all"))
    yield Kind("bias-lora", dict(bias="lora_only"))
    yield Kind("lora-bias", dict(lora_bias=True))
    yield Kind("lora-bias-rs", dict(lora_bias=True, use_rslora=True, target_modules=["gate_proj"]))
    yield Kind("lora-bias-head", dict(lora_bias=True, target_modules=["q_proj", "lm_head"]))
    for tied in (False, True):
        mark = "-tied" if tied else ""
        yield Kind("save-all" + mark, dict(modules_to_save=["embed_tokens", "lm_head", "norm"]), tied=tied)
        yield Kind("save-embedding" + mark, dict(modules_to_save=["embed_tokens"]), tied=tied)
        yield Kind("save-head" + mark, dict(modules_to_save=["lm_head"]), tied=tied)
        yield Kind("save-tying" + mark, dict(modules_to_save=["embed_tokens"], ensure_weight_tying=True), tied=tied)
        yield Kind("adapt-embedding" + mark, dict(target_modules=["q_proj", "embed_tokens"]), tied=tied)
        yield Kind("adapt-head" + mark, dict(target_modules=["q_proj", "lm_head"]), tied=tied)
        yield Kind("adapt-both" + mark, dict(target_modules=["embed_tokens", "lm_head"], use_rslora=True), tied=tied)
        yield Kind("adapt-tying" + mark, dict(target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True), tied=tied)
        yield Kind("dora" + mark, dict(use_dora=True), tied=tied)
        yield Kind("dora-embedding" + mark, dict(use_dora=True, target_modules=["v_proj", "embed_tokens"]), tied=tied)
        yield Kind("dora-head" + mark, dict(use_dora=True, target_modules=["up_proj", "lm_head"]), tied=tied)
        yield Kind("grown" + mark, dict(modules_to_save=["embed_tokens", "lm_head"]), tied=tied, grow=3)
        yield Kind("grown-auto" + mark, tied=tied, grow=3, embeddings=True)
        yield Kind("grown-embedding" + mark, dict(modules_to_save=["embed_tokens"]), tied=tied, grow=3)
        yield Kind("stored-embeddings" + mark, tied=tied, embeddings=True)
    yield Kind("save-some", dict(target_modules=["q_proj"], modules_to_save=["model.norm", "layers.0.mlp.up_proj"]))
    yield Kind("save-norms", dict(modules_to_save=["input_layernorm"]), base="f16")
    yield Kind("save-blocks", dict(target_modules=["q_proj", "up_proj"], modules_to_save=["mlp", "layers.1"]))
    yield Kind("save-block", dict(target_modules=["q_proj"], modules_to_save=["mlp"]))
    yield Kind("dora-f16", dict(use_dora=True, target_modules=LINEARS), base="f16")
    for init in (False, "gaussian", "orthogonal", "mica", "pissa", "pissa_niter_4", "olora"):
        yield Kind(f"init-{init}", dict(init_lora_weights=init))
    for init in ("corda", "loftq", "lora_ga", "eva", "nobody"):
        yield Kind(f"init-{init}", edit=dict(init_lora_weights=init))
    for init in ("pissa", "olora"):
        yield Kind(f"converted-{init}", dict(init_lora_weights=init), convert=init)
    yield Kind("converted-rs", dict(init_lora_weights="pissa", use_rslora=True), convert="pissa")
    yield Kind("velora", dict(velora_config=VeloraConfig(num_groups=4)))
    yield Kind("monteclora", dict(monteclora_config=MontecloraConfig(num_samples=2, buffer_size=2)))
    yield Kind("bdlora", dict(use_bdlora=BdLoraConfig(target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2,
                                                      match_strict=False), target_modules=["q_proj", "v_proj"]))
    yield Kind("kasa", dict(kasa_config=KasaConfig()))
    yield Kind("tokens", dict(trainable_token_indices=[7, 5]))
    yield Kind("tokens-tied", dict(trainable_token_indices=[1, 39, 5]), tied=True)
    yield Kind("tokens-by-name", dict(trainable_token_indices={"embed_tokens": [3]}), base="bf16")
    yield Kind("tokens-of-head", dict(trainable_token_indices={"lm_head": [3]}))
    yield Kind("tokens-of-both", dict(trainable_token_indices={"embed_tokens": [3], "lm_head": [4]}))
    yield Kind("tokens-grown", dict(trainable_token_indices=[40, 41]), grow=2)
    yield Kind("replicated", dict(layer_replication=[(0, 2), (1, 2)]))
    yield Kind("alora", dict(alora_invocation_tokens=[3, 4]))
    yield Kind("alpha-null", edit=dict(lora_alpha=None))
    yield Kind("unknown-field", edit=dict(use_newlora=True))
    yield Kind("unknown-off", edit=dict(use_newlora=False, new_config=None))


def kinds_of_families():
    """Returns the cases that need a base with biases or with norms of heads."""
    yield Kind("bias-all-qwen2", dict(bias="all"), more=QWEN2)
    yield Kind("bias-lora-only-qwen2", dict(bias="lora_only"), more=QWEN2)
    yield Kind("save-linear-qwen2", dict(modules_to_save=["k_proj"]), more=QWEN2)
    yield Kind("lora-bias-qwen2", dict(target_modules=["q_proj", "v_proj"], lora_bias=True), more=QWEN2)
    yield Kind("save-norms-qwen3", dict(modules_to_save=["q_norm", "input_layernorm"]), more=QWEN3)


def kinds_of_grown():
    """Returns LoRA on embedding and head of a base that PEFT's user has resized."""
    for tied in (False, True):
        mark = "-tied" if tied else ""
        yield Kind("grown-adapted" + mark, dict(target_modules=["q_proj", "embed_tokens"]), tied=tied, grow=3)
        yield Kind("grown-adapted-head" + mark, dict(target_modules=["q_proj", "lm_head"]), tied=tied, grow=3)
        yield Kind("grown-adapted-both" + mark, dict(target_modules=["embed_tokens", "lm_head"]), tied=tied, grow=3)


def kinds_of_two_biases():
    """Returns adapters that store the trained bias of a linear layer and the bias of its B."""
    yield Kind("both-biases-qwen2", dict(target_modules=["q_proj", "v_proj"], bias="lora_only", lora_bias=True), more=QWEN2)
    yield Kind("both-biases", dict(target_modules=["q_proj"], bias="all", lora_bias=True), more=dict(attention_bias=True))


FAMILIES = {
    "mistral": dict(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=8),
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "smollm3": dict(model_type="smollm3", architectures=["SmolLM3ForCausalLM"], pad_token_id=None, no_rope_layer_interval=2),
    "granite": dict(model_type="granite", architectures=["GraniteForCausalLM"], embedding_multiplier=12.0,
                    attention_multiplier=0.1, residual_multiplier=0.22, logits_scaling=3.0),
    "olmo2": dict(model_type="olmo2", architectures=["Olmo2ForCausalLM"], pad_token_id=None),
    "gemma3": dict(model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], head_dim=8, query_pre_attn_scalar=50,
                   sliding_window=8, sliding_window_pattern=2, pad_token_id=0, hidden_activation="gelu_pytorch_tanh"),
    "phi3": dict(model_type="phi3", architectures=["Phi3ForCausalLM"], pad_token_id=None),
}


def kinds_of_every_family():
    """Returns the cases that are tried with each family."""
    for name, more in FAMILIES.items():
        linears = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"] if name == "phi3" else LINEARS
        for what, options in {
                "all-linear": dict(target_modules="all-linear"),
                "defaults": dict(target_modules=None),
                "layers": dict(target_modules=linears, layers_to_transform=[1]),
                "ranks": dict(target_modules=linears, rank_pattern={linears[0]: 2}, alpha_pattern={r".*\.1\.mlp\..*": 9}),
                "dora": dict(target_modules=linears, use_dora=True),
                "biases": dict(target_modules=linears[:2], bias="all"),
                "biases-of-lora": dict(target_modules=linears[:2], bias="lora_only"),
                "bias-of-b": dict(target_modules=[linears[0], "down_proj"], lora_bias=True),
                "saved": dict(target_modules=linears[:1], modules_to_save=["embed_tokens", "lm_head", "norm"]),
                "tables": dict(target_modules=[linears[0], "embed_tokens", "lm_head"], use_rslora=True),
                "head": dict(target_modules=["lm_head"]),
                "tokens": dict(target_modules=linears, trainable_token_indices=[3, 7]),
        }.items():
            for tied in (False, True):
                yield Kind(f"{name}-{what}", options, tied=tied, more=more)


def random_kind(rng, number):
    options = dict(r=rng.choice([1, 2, 4]), lora_alpha=rng.choice([2, 6, 16]), use_rslora=rng.random() < 0.3)
    how = rng.random()
    if how < 0.3:
        options["target_modules"] = rng.choice([r".*_proj", r".*\.(?:q|down)_proj", r"model\.layers\.\d\.mlp\.\w+_proj", "all-linear"])
    else:
        targets = rng.sample(LINEARS, rng.randint(1, 7))
        if rng.random() < 0.15:
            targets.append(rng.choice(["embed_tokens", "lm_head"]))
        options["target_modules"] = targets
        if rng.random() < 0.3:
            options["layers_to_transform"] = rng.choice([0, [1], [0, 1]])
    if rng.random() < 0.3:
        options["exclude_modules"] = rng.choice([["layers.0.self_attn.q_proj"], r".*\.1\.mlp\..*", ["up_proj"]])
    if rng.random() < 0.4:
        options["rank_pattern"] = {rng.choice([*LINEARS, "layers.0.*", r".*\.mlp\.\w+"]): rng.randint(1, 5) for _ in range(2)}
    if rng.random() < 0.4:
        options["alpha_pattern"] = {rng.choice([*LINEARS, "layers.1.*"]): rng.randint(1, 12)}
    if rng.random() < 0.2:
        options["use_dora"] = True
    if rng.random() < 0.3:
        options["modules_to_save"] = rng.sample(["embed_tokens", "lm_head", "norm", "post_attention_layernorm"], rng.randint(1, 2))
        options["ensure_weight_tying"] = rng.random() < 0.3
    return Kind(f"random-{number}", options, tied=rng.random() < 0.4, base=rng.choice(["f32", "f16", "bf16"]),
                stored=rng.choice(["f32", "f32", "f16", "bf16", "f64"]), named=rng.random() < 0.15, pickled=rng.random() < 0.2)


def all_kinds(seed, count=89):
    rng = random.Random(seed)
    return [*kinds(), *kinds_of_families(), *kinds_of_grown(), *kinds_of_two_biases(), *(random_kind(rng, i) for i in range(count)), *kinds_of_every_family()]


def write_base(path, kind):
    os.makedirs(path, exist_ok=True)
    json.dump(kind.config, open(f"{path}/config.json", "w"))
    tensors = {n: torch.from_numpy(a).to(DTYPES[kind.base]) for n, a in made.weights(kind.config).items()}
    save_file(tensors, f"{path}/model.safetensors", {"format": "pt"})


def open_base(path, kind):
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    if kind.grow:
        model.resize_token_embeddings(CONFIG["vocab_size"] + kind.grow, mean_resizing=False)
    return model


def move(model, sequence):
    """Changes every number that belongs to the adapter."""
    with torch.no_grad():
        for i, (name, p) in enumerate(n for n in model.named_parameters() if "lora_" in n[0] or n[1].requires_grad):
            moved = torch.from_numpy(made.numbers(sequence + i, p.numel()).astype(np.float32)).view(p.shape) / 4
            fresh = re.search(r"lora_(A|B|embedding_A|embedding_B)\.", name)
            p.copy_(moved if fresh else p + moved / 2)


def restore(path, kind):
    """Stores the adapter as other programs, and older versions, do it."""
    file = f"{path}/adapter_model.safetensors"
    tensors = load_file(file)
    if kind.stored != "f32":
        tensors = {n: t.to(DTYPES[kind.stored]) for n, t in tensors.items()}
    if kind.named:
        tensors = {re.sub(r"(lora_[AB])\.weight$", r"\1.default.weight", n): t for n, t in tensors.items()}
    if kind.pickled:
        os.remove(file)
        torch.save(tensors, f"{path}/adapter_model.bin")
    else:
        save_file(tensors, file, {"format": "pt"})
    config = json.load(open(f"{path}/adapter_config.json"))
    for key in kind.drop:
        del config[key]
    config.update(kind.edit)
    config["base_model_name_or_path"] = "made"
    json.dump(config, open(f"{path}/adapter_config.json", "w"), indent=1)
    if os.path.exists(f"{path}/README.md"):
        os.remove(f"{path}/README.md")


def make(path, base, kind, sequence):
    config = LoraConfig(**copy.deepcopy(kind.options))
    model = get_peft_model(open_base(base, kind), config)
    if kind.convert:
        begun = f"{path}-begun"
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(begun)
        model.peft_config["default"].init_lora_weights = kind.convert
    with torch.no_grad():
        if kind.convert:
            for i, (name, p) in enumerate((n, p) for n, p in model.named_parameters() if "lora_" in n):
                p.add_(torch.from_numpy(made.numbers(sequence + i, p.numel()).astype(np.float32)).view(p.shape) / 16)
        else:
            move(model, sequence)
    extra = dict(path_initial_model_for_weight_conversion=f"{path}-begun") if kind.convert else {}
    model.save_pretrained(path, save_embedding_layers=kind.embeddings, **extra)
    restore(path, kind)


def reference(path, base, kind):
    model = PeftModel.from_pretrained(open_base(base, kind), path)
    model.eval()
    ids = torch.from_numpy(made.tokens(TOKENS, CONFIG["vocab_size"] + kind.grow))[None]
    with torch.no_grad():
        return model(input_ids=ids).logits[0].float().numpy()


def merged_by_transformers(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(made.tokens(TOKENS, CONFIG["vocab_size"]))[None]).logits[0].numpy().tobytes()


def ours(*words):
    done = subprocess.run(words, capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode().strip().splitlines()[-1:] or [""]


def apart(raw, exact):
    got = np.frombuffer(raw, np.float32)
    if got.size != exact.size:
        return np.inf
    return float(np.abs(got.reshape(exact.shape) - exact).max() / np.abs(exact).max())


def try_kind(directory, kind, number, bin_dir, build):
    path, base, merged = f"{directory}/{number}-{kind.name}", f"{directory}/{number}-base", f"{directory}/{number}-merged"
    write_base(base, kind)
    try:
        make(path, base, kind, 9000 + 500 * number)
    except Exception as e:
        return "unmade", f"PEFT does not make it: {type(e).__name__}: {str(e)[:90]}"
    exact, lack = None, ""
    try:
        exact = reference(path, base, kind)
    except Exception as e:
        lack = f"PEFT: {type(e).__name__}: {str(e).splitlines()[0][:70]}"
    rc, raw, said = ours(f"{build}/tests/bench/logits", base, str(TOKENS), path)
    rc_merge, _, said_merge = ours(f"{bin_dir}/merge", "--quiet", "--base", base, "--adapter", path, "-o", merged, "--dtype", "f32")
    if not rc_merge and kind.options.get("lora_bias"):
        # Our programs do not compute these biases: the merged model is for other programs.
        worst = apart(merged_by_transformers(merged), exact)
        return ("equal" if worst < 2e-5 and rc else "WRONG"), f"{worst:.1e} by merge alone, in transformers"
    rc_other, raw_merged, said_other = ours(f"{build}/tests/bench/logits", merged, str(TOKENS)) if not rc_merge else (1, b"", [""])
    if rc_merge and rc:
        sensible = rc in (2, 3) and rc_merge in (2, 3)
        return ("refused" if sensible else "WRONG"), f"{said_merge[0][-110:]} {lack}"
    if exact is None:
        return "WRONG", f"taken, but {lack}"
    if rc_merge or rc_other:
        return "WRONG", f"applied, but not merged: {said_merge[0]} {said_other[0]}"
    worst = apart(raw_merged, exact)
    if rc:
        if "merge it first" not in said[0]:
            return "WRONG", said[0]
    else:
        worst = max(worst, apart(raw, exact))
    return ("equal" if worst < 2e-5 else "WRONG"), f"{worst:.1e}{' by merge alone' if rc else ''}"


def run(directory, bin_dir, build, seed=1):
    os.makedirs(directory, exist_ok=True)
    counts = {}
    for number, kind in enumerate(all_kinds(int(seed))):
        outcome, words = try_kind(directory, kind, number, bin_dir, build)
        counts[outcome] = counts.get(outcome, 0) + 1
        print(f"{outcome:8} {kind.name:22} {'tied' if kind.tied else '    '} {kind.base:5} {words}", flush=True)
    print(counts)
    assert not counts.get("WRONG")


GOLDEN = ["plain-f64", "named", "regex-ahead", "names", "exclude-regex", "layers-direct", "ranks", "ranks-rs",
          "save-embedding-tied", "save-head-tied", "save-tying-tied", "stored-embeddings-tied", "grown", "grown-auto-tied",
          "adapt-embedding-tied", "adapt-head", "dora", "dora-embedding", "tokens-tied", "converted-pissa",
          "bias-all-qwen2", "bias-lora-only-qwen2", "save-linear-qwen2", "lora-bias-qwen2", "save-norms-qwen3",
          "grown-adapted-both", "grown-adapted-tied", "both-biases-qwen2"]


def golden(out):
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    cases, logits = [], {}
    for number, kind in enumerate(k for k in (*kinds(), *kinds_of_families(), *kinds_of_grown(), *kinds_of_two_biases())
                                  if k.name in GOLDEN):
        base = f"{out}/base"
        write_base(base, kind)
        if kind.stored == "f32":
            kind.stored = "f16"
        make(f"{out}/{kind.name}", base, kind, 30000 + 500 * number)
        logits[kind.name] = torch.from_numpy(reference(f"{out}/{kind.name}", base, kind)).contiguous()
        cases.append(dict(name=kind.name, config=kind.config))
        shutil.rmtree(base)
        shutil.rmtree(f"{out}/{kind.name}-begun", ignore_errors=True)
    assert len(cases) == len(GOLDEN)
    json.dump(cases, open(f"{out}/cases.json", "w"), indent=1)
    save_file(logits, f"{out}/logits.safetensors", {"format": "pt"})


if sys.argv[1] == "run":
    run(*sys.argv[2:])
elif sys.argv[1] == "golden":
    golden(sys.argv[2])
