/* gguf_names.h - the names that architectures, sizes and tensors have in GGUF files.
 *
 * Source: gguf-py/gguf/constants.py and tensor_mapping.py of llama.cpp, and its converters, which
 * reorder the rows of q and k within each head for some models (LlamaModel.permute).
 */
#ifndef LONGQLORA_LLAMA_GGUF_NAMES_H
#define LONGQLORA_LLAMA_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An architecture of llama.cpp, and what its code for it computes (src/models/NAME.cpp). */
struct gguf_architecture {
    const char *name; /* general.architecture, which is also the prefix of the model's keys */
    /* Types in config.json. A file is read as the first of these types. A model is written with the
     * first architecture of the table that has its type. */
    const char *model_types[4];
    const char *class; /* transformers' class, for the key architectures of config.json */
    /* In each head of q and k, rows 2 i and 2 i + 1 are rows i and i + head_dim / 2 of
     * transformers. */
    bool interleaves;
    bool has_all_biases;  /* any linear layer may have a bias; otherwise only q, k and v */
    bool has_head_norms;  /* QK norm: of each head of q and k, or of all heads of q or k together */
    bool has_factors;     /* llama.cpp reads rope_freqs.weight */
    bool has_scales;      /* embedding, attention, residual and logits have factors */
    bool has_whole_heads; /* heads · head_dim must be the width of the model */
    /* 4: every fourth layer does not rotate q and k; 0: all layers rotate them. */
    int64_t unrotated;
    bool has_post_norms;  /* norms follow attention and MLP */
    bool lacks_pre_norms; /* no norms come before attention and MLP */
    /* All norms are stored as 1 + weight, by which llama.cpp multiplies. */
    bool norms_add_one;
    bool needs_head;  /* llama.cpp does not use the embedding's weights for the head */
    bool has_windows; /* layers may have a sliding window, and then a theta of their own */
    bool has_gelu;    /* the activation of the MLP's gate is GELU, not SiLU */
    /* q, k and v are one tensor, attn_qkv; gate and up are one tensor, which is called ffn_up. */
    bool has_fused_linears;
    /* llama.cpp reads rope_factors_long.weight and rope_factors_short.weight. Only a part of each
     * head may be rotated. */
    bool has_longrope;
    /* Files have the key of the sliding window, but llama.cpp attends to all keys. */
    bool has_unused_window;
};
/* Returns row i of the table; NULL after the last. */
const struct gguf_architecture *gguf_architecture_at(size_t i);

/* Writes the GGUF name of a tensor that transformers calls `name`: "blk.3.attn_q.weight" for
 * "model.layers.3.self_attn.q_proj.weight". Returns false if llama.cpp's architecture has no such
 * tensor. */
bool gguf_tensor_name(const struct gguf_architecture *a, const char *name, char *to, size_t size);
/* Is this the name of a tensor of q or k, whose rows may be interleaved? */
bool gguf_is_rotated(const char *name);

/* Returns which row of an interleaved q or k in the GGUF is transformers' `row`. */
static inline int64_t gguf_interleaved_row(int64_t row, int64_t head_dim)
{
    int64_t in = row % head_dim, half = head_dim / 2;
    return row - in + 2 * (in % half) + in / half;
}

/* Keys of the file (general.*), of the tokenizer (tokenizer.*), and of the model. The model's keys
 * are written here without their prefix, "{arch}.". */
#define GGUF_KEY_ARCHITECTURE "general.architecture"
#define GGUF_KEY_TYPE "general.type"
#define GGUF_KEY_FILE_TYPE "general.file_type"
#define GGUF_KEY_VOCAB "vocab_size"
#define GGUF_KEY_CONTEXT "context_length"
#define GGUF_KEY_LAYERS "block_count"
#define GGUF_KEY_DIM "embedding_length"
#define GGUF_KEY_FFN "feed_forward_length"
#define GGUF_KEY_HEADS "attention.head_count"
#define GGUF_KEY_KV_HEADS "attention.head_count_kv"
#define GGUF_KEY_KEY_LENGTH "attention.key_length"
#define GGUF_KEY_VALUE_LENGTH "attention.value_length"
#define GGUF_KEY_NORM_EPS "attention.layer_norm_rms_epsilon"
#define GGUF_KEY_WINDOW "attention.sliding_window"
#define GGUF_KEY_WINDOW_PATTERN "attention.sliding_window_pattern"
#define GGUF_KEY_EMBEDDING_SCALE "embedding_scale"
#define GGUF_KEY_ATTENTION_SCALE "attention.scale"
#define GGUF_KEY_RESIDUAL_SCALE "residual_scale"
#define GGUF_KEY_LOGIT_SCALE "logit_scale" /* the logits are divided by it */
#define GGUF_KEY_ROPE_DIM "rope.dimension_count"
#define GGUF_KEY_THETA "rope.freq_base"
#define GGUF_KEY_LOCAL_THETA "rope.freq_base_swa" /* theta of the layers with a window */
#define GGUF_KEY_SCALING "rope.scaling.type"
#define GGUF_KEY_FACTOR "rope.scaling.factor"
#define GGUF_KEY_ORIGINAL "rope.scaling.original_context_length"
#define GGUF_KEY_ATTN_FACTOR "rope.scaling.attn_factor"
#define GGUF_KEY_BETA_FAST "rope.scaling.yarn_beta_fast"
#define GGUF_KEY_BETA_SLOW "rope.scaling.yarn_beta_slow"
/* The tensor for llama3 scaling, f32 [head_dim / 2]. llama.cpp divides the frequencies of RoPE by
 * its values. */
#define GGUF_ROPE_FREQS "rope_freqs.weight"
/* The tensors for longrope, f32 [rotary_dim / 2]. If the context that llama.cpp serves is longer
 * than the original context, it divides the frequencies by the long factors, otherwise by the short
 * ones. */
#define GGUF_LONG_FACTORS "rope_factors_long.weight"
#define GGUF_SHORT_FACTORS "rope_factors_short.weight"
/* Every sixth layer of Gemma 3 has no window, if GGUF_KEY_WINDOW_PATTERN is missing. */
enum { GGUF_WINDOW_PATTERN = 6 };
/* Returns the number by whose square root llama.cpp divides q·k in Gemma 3: head_dim, but the width
 * divided by the heads for a model of 62 layers (27B). */
static inline int64_t gguf_attention_scalar(int64_t dim, int64_t layers, int64_t heads,
                                            int64_t head_dim)
{
    return layers == 62 ? dim / heads : head_dim;
}
#define GGUF_HEAD "output.weight"
#define GGUF_EMBEDDING "token_embd.weight"
/* These tensors of the first layer show whether a model has such biases. */
#define GGUF_Q_BIAS "blk.0.attn_q.bias"
#define GGUF_GATE_BIAS "blk.0.ffn_gate.bias"

#endif
