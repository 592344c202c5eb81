#!/usr/bin/env python3
"""Checks that other programs load the files that ours write, and compute the same. It is run by hand, in README.md's two environments for it.

usage: check_foreign.py make DIR BIN_DIR BUILD_DIR       (once, where made.py runs)
       check_foreign.py load DIR                         (transformers 4.31; current with bitsandbytes, peft)

make writes synthetic models with our merge (into f16, into f32, with interpolation) and quantize --to bnb, and our logits of each.
load loads every directory unedited and compares the logits.
"""
import json
import os
import subprocess
import sys

import made
import numpy as np

TOKENS = 48
CONFIG = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=48, hidden_size=32,
              intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
              hidden_act="silu", max_position_embeddings=24, rms_norm_eps=1e-5, tie_word_embeddings=False,
              bos_token_id=1, eos_token_id=2)
WIDE = dict(CONFIG, hidden_size=64, intermediate_size=128, num_hidden_layers=2)
# A model of each family, with the keys that it adds to LLaMA. Only transformers 5 knows all of them.
FAMILIES = {
    "llama": dict(attention_bias=True, mlp_bias=True, architectures=["LlamaForCausalLM"]),
    "qwen2": dict(use_sliding_window=True, sliding_window=9, max_window_layers=1, architectures=["Qwen2ForCausalLM"]),
    "qwen3": dict(head_dim=32, architectures=["Qwen3ForCausalLM"], tie_word_embeddings=True),
    "smollm3": dict(no_rope_layers=[0, 1], pad_token_id=None, architectures=["SmolLM3ForCausalLM"]),
    "mistral": dict(sliding_window=10, architectures=["MistralForCausalLM"]),
    "ministral": dict(sliding_window=10, head_dim=16, layer_types=["sliding_attention", "full_attention"],
                      architectures=["MinistralForCausalLM"]),
    "granite": dict(embedding_multiplier=12.0, attention_multiplier=0.1, residual_multiplier=0.22, logits_scaling=3.0,
                    attention_bias=True, mlp_bias=True, architectures=["GraniteForCausalLM"]),
    "olmo2": dict(architectures=["Olmo2ForCausalLM"], pad_token_id=None),
    "gemma3_text": dict(head_dim=16, query_pre_attn_scalar=10, sliding_window=9, sliding_window_pattern=2,
                        rope_local_base_freq=50.0, hidden_activation="gelu_pytorch_tanh", pad_token_id=None,
                        architectures=["Gemma3ForCausalLM"]),
    "phi3": dict(architectures=["Phi3ForCausalLM"], pad_token_id=None, sliding_window=20, max_position_embeddings=48,
                 original_max_position_embeddings=30, partial_rotary_factor=0.75, rope_scaling={
                     "type": "longrope", "short_factor": [1, 1, 1.5, 1.5, 2, 2], "long_factor": [1, 2, 3, 4, 5, 6]}),
}
here = os.path.dirname(os.path.abspath(__file__))


def make(directory, bin_dir, build):
    from safetensors.numpy import save_file

    def base(path, config, dtype):
        os.makedirs(path, exist_ok=True)
        json.dump(config, open(f"{path}/config.json", "w"))
        save_file({n: a.astype(dtype) for n, a in made.weights(config).items()}, f"{path}/model.safetensors",
                  {"format": "pt"})

    def run(*words):
        subprocess.run(words, check=True)

    def logits(name, *adapter):
        with open(f"{directory}/{name}.logits", "wb") as out:
            subprocess.run([f"{build}/tests/bench/logits", f"{directory}/{name}", str(TOKENS), *adapter], stdout=out, check=True)

    base(f"{directory}/base-f32", CONFIG, np.float32)
    base(f"{directory}/base-tied", dict(CONFIG, tie_word_embeddings=True), np.float32)
    base(f"{directory}/base-f16", CONFIG, np.float16)
    base(f"{directory}/wide", WIDE, np.float16)
    adapter = f"{directory}/adapter"
    os.makedirs(adapter, exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        open(f"{adapter}/{name}", "wb").write(open(f"{here}/peft/adapter/{name}", "rb").read())
    for rope in (dict(type="linear", factor=2.0), dict(type="ntk", factor=2.0)):
        rope["original_max_position_embeddings"] = 24
        json.dump(dict(longqlora=1, base="0" * 32, tokenizer="", rope=rope), open(f"{adapter}/longqlora.json", "w"))
        for style in ("old", "new"):
            for dtype in ("f32", "f16"):
                name = f"merged-{rope['type']}-{style}-{dtype}"
                run(f"{bin_dir}/merge", "--quiet", "--force-base", "--base", f"{directory}/base-{dtype}", "--adapter", adapter,
                    "-o", f"{directory}/{name}", "--config-style", style, "--max-shard-size", "1")
                logits(name)
    run(f"{bin_dir}/quantize", "--quiet", f"{directory}/wide", "--to", "bnb", "-o", f"{directory}/bnb")
    logits("bnb")
    families(directory, run, base, logits, bin_dir)
    # Adapters of train, with embedding and head. PEFT loads them over a base with the position scaling of the training.
    for name, of in (("trained", "base-f32"), ("trained-tied", "base-tied")):
        run(f"{bin_dir}/train", f"{directory}/lora.yaml", "--quiet", f"model_name_or_path={directory}/{of}",
            f"train_file={directory}/48.smp", f"output_dir={directory}/{name}")
        with open(f"{directory}/{name}.logits", "wb") as out:
            subprocess.run([f"{build}/tests/bench/logits", f"{directory}/{of}", str(TOKENS), f"{directory}/{name}"], stdout=out, check=True)


def families(directory, run, base, logits, bin_dir):
    """Makes a model of each family, its 4-bit directory, and its merge with an adapter for twice the context."""
    samples(directory, bin_dir)
    for kind, own in FAMILIES.items():
        place = f"{directory}/family-{kind}"
        base(place, {**WIDE, "model_type": kind, **own}, np.float16)
        run(f"{bin_dir}/quantize", "--quiet", place, "--to", "bnb", "-o", f"{directory}/bnb-{kind}")
        logits(f"bnb-{kind}")
        run(f"{bin_dir}/train", f"{directory}/lora.yaml", "--quiet", f"model_name_or_path={place}", f"train_file={directory}/48.smp",
            f"output_dir={directory}/adapter-{kind}")
        run(f"{bin_dir}/merge", "--quiet", "--base", place, "--adapter", f"{directory}/adapter-{kind}", "-o",
            f"{directory}/merged-new-{kind}", "--config-style", "new")
        logits(f"merged-new-{kind}")


def samples(directory, bin_dir):
    head = dict(longqlora=1, kind="tokens", tokenizer=dict(digest="", vocab_size=48, bos=1, eos=2), dtype="u16", add_bos=False, add_eos=False)
    documents = [dict(id=f"d:{i}", source="", tokens=made.tokens(2000, 48)[i * 48:i * 48 + 48].tolist()) for i in range(40)]
    lines = "\n".join(json.dumps(o) for o in [head, *documents, dict(end=True, records=len(documents))]) + "\n"
    subprocess.run([f"{bin_dir}/pack", "--quiet", "--from", "jsonl", "--context", "48", "-o", f"{directory}/48.smp"], input=lines, text=True, check=True)
    open(f"{directory}/lora.yaml", "w").write("method: lora\nquantization: none\nlearning_rate: 0.01\nlora_rank: 4\nmax_steps: 5\n"
                                              "train_embedding: true\ntrain_norm: true\nrope: linear\n")


def load(directory):
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, LlamaConfig
    new = int(transformers.__version__.split(".")[0]) >= 5
    worst = 0.0
    for name in sorted(os.listdir(directory)):
        if not os.path.exists(f"{directory}/{name}.logits"):
            continue
        # 4.31 knows neither bitsandbytes' files nor the new spelling nor rope_theta.
        if not new and (name.startswith("bnb") or "-new-" in name or "-ntk-" in name):
            continue
        how = dict(device_map="cpu") if name.startswith("bnb") else {}
        if name.startswith("trained"):
            from peft import PeftModel
            of = f"{directory}/base-tied" if name == "trained-tied" else f"{directory}/base-f32"
            config = json.load(open(f"{of}/config.json"))
            base = AutoModelForCausalLM.from_pretrained(of, config=LlamaConfig(
                **config, rope_scaling={"type": "linear", "factor": 2.0}))
            model = PeftModel.from_pretrained(base, f"{directory}/{name}")
        else:
            model = AutoModelForCausalLM.from_pretrained(f"{directory}/{name}", **{"dtype" if new else "torch_dtype": torch.float32}, **how)
        # Everything is computed in f32, because transformers leaves a quantized model's other weights in f16, and
        # bitsandbytes dequantizes to f16, as the file says; its CPU kernel for inference rounds to bf16.
        for p in model.parameters():
            p.data = p.data.float() if p.dtype == torch.float16 else p.data
        model.train(name.startswith("bnb"))
        for module in model.modules():
            if type(module).__name__ == "Linear4bit":
                module.compute_dtype = torch.float32
                module.weight.quant_state.dtype = torch.float32
        ours = np.fromfile(f"{directory}/{name}.logits", np.float32).reshape(TOKENS, -1)
        with torch.no_grad():
            theirs = model(torch.from_numpy(made.tokens(TOKENS, 48))[None]).logits[0].float().numpy()
        apart = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        worst = max(worst, apart)
        print(f"{name}: {apart:.2g} of the largest logit")
    print(f"transformers {transformers.__version__}: all within {worst:.2g}")
    assert 0 < worst < 2e-5


if sys.argv[1] == "make":
    make(*sys.argv[2:])
elif sys.argv[1] == "load":
    load(sys.argv[2])
