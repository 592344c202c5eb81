#!/usr/bin/env python3
"""The families in llama.cpp: the files that its converter writes, and the logits that it computes.

  gguf_families.py convert OUT LLAMACPP   made.py's models as the converter of LLAMACPP (the source
                                          tree) writes them: OUT/NAME.gguf in f16, which is exact,
                                          and OUT/wide/NAME.gguf in f32
  gguf_families.py run OUT                OUT/logits.f32: llama.cpp's logits of the first 20
                                          synthetic tokens, of each file in the order of its name,
                                          computed from OUT/wide, which is then not needed

convert needs torch 2.15.0, transformers 5.24.0 and the source of llama-cpp-python 0.3.36; run needs
llama-cpp-python 0.3.36.
"""
import json
import os
import sys
import tempfile
from pathlib import Path

import made
import numpy as np

TOKENS = 20
BASE = dict(vocab_size=24, hidden_size=16, intermediate_size=16, num_attention_heads=2, num_key_value_heads=1,
            num_hidden_layers=2, hidden_act="silu", rms_norm_eps=1e-5, max_position_embeddings=64, rope_theta=10000.0,
            tie_word_embeddings=False)
QWEN = dict(rope_theta=1000000.0, rms_norm_eps=1e-6)
YARN = dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16))
LLAMA3 = dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                original_max_position_embeddings=1024))
WINDOWS = dict(model_type="gemma3_text", hidden_activation="gelu_pytorch_tanh", head_dim=12, query_pre_attn_scalar=12, sliding_window=8,
               num_hidden_layers=6, rope_theta=1000000.0, rope_local_base_freq=20000.0, tie_word_embeddings=True, rms_norm_eps=1e-6)
LONGROPE = dict(rope_scaling=dict(type="longrope", short_factor=[1.0, 1.25, 2.0], long_factor=[1.5, 3.0, 4.0]))
PHI3 = dict(num_hidden_layers=1, sliding_window=None, pad_token_id=None, eos_token_id=9)
CASES = {  # name: class of transformers, pre-tokenizer ("": a SentencePiece tokenizer), keys of config.json beside BASE
    "gemma3": ("Gemma3ForCausalLM", "", dict(rope_scaling=dict(rope_type="linear", factor=8.0), **WINDOWS)),
    "granite": ("GraniteForCausalLM", "refact", dict(embedding_multiplier=12.0, attention_multiplier=0.25, residual_multiplier=0.22,
                                                     logits_scaling=8.0, tie_word_embeddings=True, num_hidden_layers=1)),
    "llama-biases": ("LlamaForCausalLM", "llama-bpe", dict(attention_bias=True, mlp_bias=True)),
    "llama31": ("LlamaForCausalLM", "llama-bpe", dict(tie_word_embeddings=True, num_hidden_layers=1, **LLAMA3)),
    "mistral": ("MistralForCausalLM", "tekken", dict(sliding_window=None, head_dim=12, num_hidden_layers=1)),
    "olmo2": ("Olmo2ForCausalLM", "dbrx", dict(num_hidden_layers=1, rope_theta=500000.0, rms_norm_eps=1e-6)),
    "phi3-longrope": ("Phi3ForCausalLM", "", dict(original_max_position_embeddings=16, partial_rotary_factor=0.75, **LONGROPE, **PHI3)),
    "phi4": ("Phi3ForCausalLM", "dbrx", dict(original_max_position_embeddings=64, **PHI3)),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", dict(**QWEN, **YARN)),
    "qwen3": ("Qwen3ForCausalLM", "qwen2", dict(tie_word_embeddings=True, head_dim=12, **QWEN)),
    "smollm3": ("SmolLM3ForCausalLM", "smaug-bpe", dict(num_hidden_layers=5, tie_word_embeddings=True, rope_theta=5000000.0)),
}


def tokenizer(model, pre):
    tokens = ["h", "e", "l", "o", "Ġ", "1", "2", "he", "ll", "<|end|>"]
    w, count = model.gguf_writer, model.hparams["vocab_size"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens + [f"[PAD{i}]" for i in range(len(tokens), count)])
    w.add_token_types([1] * 9 + [3] + [5] * (count - 10))
    w.add_token_merges(["h e", "l l"])
    w.add_bos_token_id(9)
    w.add_eos_token_id(9)
    w.add_add_bos_token(False)


def pieces(model):
    tokens = ["<unk>", "<s>", "</s>", "h", "e", "l", "o", "▁", "he", "ll", "▁he", "1", "2", "hell"]
    w, count = model.gguf_writer, model.hparams["vocab_size"]
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens + ["  ", "<|end|>", "<|endoftext|>"] + [f"[PAD{i}]" for i in range(len(tokens) + 3, count)])
    w.add_token_scores([0.0] * 3 + [-float(i) for i in range(len(tokens) - 3)] + [-1000.0] * 3 + [-10000.0] * (count - len(tokens) - 3))
    w.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3) + [4, 3, 3] + [5] * (count - len(tokens) - 3))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_space_prefix(False)


def convert(out, llamacpp):
    sys.path[:0] = [f"{llamacpp}/gguf-py", llamacpp]
    import gguf
    import torch
    from conversion import get_model_class
    from safetensors.numpy import save_file

    os.makedirs(f"{out}/wide", exist_ok=True)
    for name, (kind, pre, more) in CASES.items():
        config = {**BASE, "model_type": kind.removesuffix("ForCausalLM").lower(), "architectures": [kind], **more}
        with tempfile.TemporaryDirectory() as place:
            save_file(made.weights(config), f"{place}/model.safetensors")
            Path(place, "config.json").write_text(json.dumps(config))
            # The converter of Gemma 3 counts the tokens, to leave out rows of the embedding beyond them.
            Path(place, "tokenizer.json").write_text(json.dumps({"model": {"vocab": {str(i): i for i in range(24)}}, "added_tokens": []}))
            for ftype, to in ((gguf.LlamaFileType.MOSTLY_F16, out), (gguf.LlamaFileType.ALL_F32, f"{out}/wide")):
                with torch.inference_mode():
                    model = get_model_class(kind)(Path(place), ftype, Path(f"{to}/{name}.gguf"), model_name=name)
                    model.set_vocab = lambda: tokenizer(model, pre) if pre else pieces(model)
                    model.write()


def run(out):
    import llama_cpp
    from llama_cpp import llama_cpp as low

    plain = low.llama_model_default_params

    def default_params():  # no AMX: some virtual machines list it, but cannot run it
        params = plain()
        params.use_extra_bufts = False
        return params

    low.llama_model_default_params = llama_cpp.llama_model_default_params = default_params
    ids = made.tokens(TOKENS, BASE["vocab_size"]).tolist()
    with open(f"{out}/logits.f32", "wb") as f:
        for name in sorted(CASES):
            model = llama_cpp.Llama(f"{out}/wide/{name}.gguf", n_ctx=64, logits_all=True, verbose=False, n_threads=1,
                                    flash_attn=False, type_k=0, type_v=0)
            model.eval(ids)
            f.write(np.array(model.scores[:TOKENS], np.float32).tobytes())
            print(name, "n_ctx_train", low.llama_model_n_ctx_train(model._model.model))


if sys.argv[1] == "convert":
    convert(*sys.argv[2:])
else:
    run(sys.argv[2])
