#!/usr/bin/env python3
"""llamacpp_families.py BIN PLACE TEXT PYTHON [NAME...] - runs llamacpp.py on a model of each family, by hand.

BIN's programs train each model in PLACE from its config, with a tokenizer of its family's pattern
(patterns.py), or a SentencePiece model as Gemma's or Phi-3's. Then they train an adapter with
position scaling on its NF4. PYTHON is the interpreter that has llama-cpp-python. Exits with 1 if
something differs. Needs tokenizers 0.23.3, sentencepiece 0.2.3 and transformers 5.24.0.
"""
import json
import os
import subprocess
import sys

import patterns

binary, place, text, python = sys.argv[1:5]
here = os.path.dirname(os.path.abspath(__file__))
SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             rms_norm_eps=1e-5, hidden_act="silu", max_position_embeddings=128, initializer_range=0.1)
LLAMA3 = dict(rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                original_max_position_embeddings=64))
GEMMA = dict(model_type="gemma3_text", hidden_activation="gelu_pytorch_tanh", head_dim=24, query_pre_attn_scalar=24,
             sliding_window=40, tie_word_embeddings=True, rope_theta=1000000.0, rope_local_base_freq=10000.0, rms_norm_eps=1e-6)
LONGROPE = dict(rope_scaling=dict(type="longrope", short_factor=[1.0, 1.0, 1.1, 1.25, 1.5, 2.0], long_factor=[1.0, 1.2, 2.0, 4.0, 6.0, 8.0]),
                partial_rotary_factor=0.75, tie_word_embeddings=True)
CASES = {  # class, tokenizer, other keys of config.json, the adapter's position scaling
    "llama": ("Llama", "llama-3", dict(rope_theta=10000.0), "linear:2"),
    "llama-biases": ("Llama", "gpt-2", dict(attention_bias=True, mlp_bias=True), "ntk:2"),
    "llama31": ("Llama", "llama-3", dict(tie_word_embeddings=True, rope_theta=500000.0, **LLAMA3), None),
    "mistral": ("Mistral", "tekken", dict(head_dim=24, sliding_window=256), "linear:2"),
    "ministral": ("Ministral", "tekken", dict(head_dim=32, sliding_window=256), "yarn:2"),
    "qwen2": ("Qwen2", "qwen2", dict(tie_word_embeddings=True, rope_theta=1000000.0), "yarn:2"),
    "qwen2-linear": ("Qwen2", "qwen2", dict(tie_word_embeddings=False), "linear:2"),
    "qwen3": ("Qwen3", "qwen2", dict(head_dim=32, rope_theta=1000000.0), "yarn:2"),
    "qwen3-linear": ("Qwen3", "qwen2", dict(head_dim=24, tie_word_embeddings=True), "linear:2"),
    "smollm3": ("SmolLM3", "llama-3", dict(tie_word_embeddings=True, rope_theta=5000000.0), "linear:2"),
    "granite": ("Granite", "starcoder", dict(embedding_multiplier=12.0, attention_multiplier=0.25, residual_multiplier=0.22,
                                              logits_scaling=8.0, tie_word_embeddings=True), "linear:2"),
    "olmo2": ("Olmo2", "phi-4", dict(tie_word_embeddings=False, rope_theta=500000.0), "yarn:2"),
    "gemma3": ("Gemma3", "gemma", dict(num_hidden_layers=7, **GEMMA), "linear:2"),
    "gemma3-yarn": ("Gemma3", "gemma", dict(sliding_window_pattern=3, **GEMMA), "yarn:2"),
    "phi3": ("Phi3", "phi-3", dict(sliding_window=256, original_max_position_embeddings=128), "linear:2"),
    # In both models llama.cpp takes the long factors, because the context is longer than the original one. transformers and our
    # programs do so because all texts are longer than it. With WINDOW=256, phi3-short takes the short factors.
    "phi3-longrope": ("Phi3", "phi-4", dict(original_max_position_embeddings=16, **LONGROPE), None),
    "phi3-short": ("Phi3", "o200k", dict(max_position_embeddings=512, original_max_position_embeddings=256, **LONGROPE), None),
    "smollm3-yarn": ("SmolLM3", "smaug", dict(tie_word_embeddings=True, rope_theta=5000000.0), "yarn:2"),
}


def run(program, *options):
    subprocess.run([f"{binary}/{program}", "--quiet", *map(str, options)], check=True)


def make_tokenizer(to, pattern, lines):
    made = patterns.train("llama-3" if pattern == "smaug" else pattern, lines, 2000)
    if pattern == "smaug":
        made["model"]["ignore_merges"] = False
    end = max([len(made["model"]["vocab"]) - 1] + [t["id"] for t in made["added_tokens"]]) + 1
    made["added_tokens"].append({"id": end, "content": "<|endoftext|>", "special": True, "single_word": False, "lstrip": False,
                                 "rstrip": False, "normalized": False})
    os.makedirs(to)
    json.dump(made, open(f"{to}/tokenizer.json", "w"))
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}, open(f"{to}/tokenizer_config.json", "w"))
    return end


def make_pieces(to, pattern, lines):
    """Trains a SentencePiece model, and writes it as transformers writes Gemma's and Phi-3's tokenizer.json."""
    import sentencepiece
    from transformers.tokenization_utils_base import generate_merges

    is_gemma = pattern == "gemma"
    plain = ["\n" * n for n in range(1, 5)] + ["▁" * n for n in range(2, 9)] if is_gemma else []
    os.makedirs(to)
    with open(f"{to}/text", "w", encoding="utf-8") as file:
        file.writelines(lines)
    sentencepiece.SentencePieceTrainer.train(
        input=f"{to}/text", model_prefix=f"{to}/pieces", model_type="bpe", vocab_size=2000, byte_fallback=True, character_coverage=0.9995,
        add_dummy_prefix=not is_gemma, remove_extra_whitespaces=False, normalization_rule_name="identity", user_defined_symbols=plain,
        minloglevel=2)
    model = sentencepiece.SentencePieceProcessor(f"{to}/pieces.model")
    vocab = {model.id_to_piece(i): i for i in range(len(model))}
    merges = generate_merges(vocab, {piece: model.get_score(i) for piece, i in vocab.items()})
    special = ["<unk>", "<s>", "</s>", "<|endoftext|>"] + ([] if is_gemma else ["<|user|>", "<|end|>"])
    ids = vocab | {token: len(vocab) + i for i, token in enumerate(special[3:])}
    added = [{"id": ids[t], "content": t, "special": t in special, "single_word": False, "lstrip": False, "normalized": False,
              "rstrip": not is_gemma and t not in special[:2] + special[3:4]} for t in special + plain]
    parts = patterns.FAMILIES[pattern][1]
    made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": sorted(added, key=lambda t: t["id"]), **parts,
            "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                         {"type": "ByteFallback"}, {"type": "Fuse"}] +
                        [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] * (not is_gemma)},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab,
                      "merges": [list(pair) for pair in merges]}}
    json.dump(made, open(f"{to}/tokenizer.json", "w"))
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}, open(f"{to}/tokenizer_config.json", "w"))
    for file in "text", "pieces.model", "pieces.vocab":
        os.remove(f"{to}/{file}")
    return max(ids.values())


def make(name, to, lines):
    kind, pattern, more, rope = CASES[name]
    make_any = make_pieces if pattern in ("gemma", "phi-3") else make_tokenizer
    end = make_any(f"{to}/tok", pattern, lines)
    config = {"architectures": [f"{kind}ForCausalLM"], "model_type": kind.lower(), "vocab_size": end + 7, "bos_token_id": end,
              "eos_token_id": end, "pad_token_id": None, **SIZES, **more}
    json.dump(config, open(f"{to}/config.json", "w"))
    run("tokenize", "--format", "text", "-m", f"{to}/tok", text, "-o", f"{to}/tok.tok")
    for context in 128, 256:
        run("pack", "--context", context, "--strategy", "split", f"{to}/tok.tok", "-o", f"{to}/{context}.smp")
    open(f"{to}/full.yaml", "w").write("method: full\n")
    open(f"{to}/lora.yaml", "w").write("method: lora\n")
    run("train", f"{to}/full.yaml", "from_scratch=true", "attention=full", f"model_name_or_path={to}/config.json",
        f"tokenizer={to}/tok", f"train_file={to}/128.smp", f"output_dir={to}/base", "max_steps=150", "learning_rate=0.005",
        "per_device_train_batch_size=4", "--device", "cpu")
    run("quantize", f"{to}/base", "-o", f"{to}/base.nf4")
    run("train", f"{to}/lora.yaml", f"model_name_or_path={to}/base.nf4", f"tokenizer={to}/tok",
        f"train_file={to}/{256 if rope else 128}.smp", f"output_dir={to}/run", "max_steps=10", "learning_rate=0.01",
        *([f"rope={rope}"] if rope else []), "attention=full", "--device", "cpu")


wrong = []
with open(text, encoding="utf-8") as file:
    lines = file.read().splitlines(keepends=True)
for name in sys.argv[5:] or CASES:
    print(f"== {name}", flush=True)
    to = f"{place}/{name}"
    if not os.path.exists(f"{to}/run"):
        make(name, to, lines)
    if subprocess.run([python, f"{here}/llamacpp.py", binary, f"{to}/base", text, f"{to}/run"]).returncode:
        wrong.append(name)
print("differ:", *wrong or ["none"])
sys.exit(bool(wrong))
