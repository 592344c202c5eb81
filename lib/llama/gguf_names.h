/* gguf_names.h - how a model's architecture, sizes and tensors are called in GGUF files.
 *
 * Source: gguf-py/gguf/constants.py and tensor_mapping.py of llama.cpp, and its converters, which
 * store some models' q and k with the rows of a head in another order (LlamaModel.permute).
 */
#ifndef LONGQLORA_LLAMA_GGUF_NAMES_H
#define LONGQLORA_LLAMA_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An architecture of llama.cpp, and what its code for it computes (src/models/NAME.cpp). */
struct gguf_architecture {
    const char *name; /* general.architecture, which is also the prefix of the model's keys */
    /* In config.json: a file is read as the first, and models of all of these are written so. */
    const char *model_types[4];
    const char *class; /* of transformers, in the architectures of config.json */
    /* Rows 2 i and 2 i + 1 of a head of q and k are rows i and i + head_dim / 2 in transformers. */
    bool interleaves;
    bool has_all_biases;  /* any linear may have a bias; otherwise only q, k and v */
    bool has_head_norms;  /* norms of the heads of q and k */
    bool has_factors;     /* rope_freqs.weight is read */
    bool has_scales;      /* factors of embedding, attention, residual and logits */
    bool has_whole_heads; /* all heads together are as wide as the model */
    int64_t unrotated;    /* the last of so many layers does not rotate q and k; 0: all rotate */
};
/* Row i of the table; NULL after the last. */
const struct gguf_architecture *gguf_architecture_at(size_t i);

/* Writes the GGUF name of a tensor that transformers calls `name`: "blk.3.attn_q.weight" for
 * "model.layers.3.self_attn.q_proj.weight". Returns false if llama.cpp has no such tensor in this
 * architecture. */
bool gguf_tensor_name(const struct gguf_architecture *a, const char *name, char *to, size_t size);
/* Does the name belong to q or k, whose rows may be interleaved? */
bool gguf_is_rotated(const char *name);

/* Returns the place of `row` of an interleaved q or k among the rows in the GGUF. */
static inline int64_t gguf_interleaved_row(int64_t row, int64_t head_dim)
{
    int64_t in = row % head_dim, half = head_dim / 2;
    return row - in + 2 * (in % half) + in / half;
}

/* Keys of the file (general.*), of the tokenizer (tokenizer.*), and of the model. The latter are
 * without their prefix, "{arch}.". */
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
#define GGUF_KEY_EMBEDDING_SCALE "embedding_scale"
#define GGUF_KEY_ATTENTION_SCALE "attention.scale"
#define GGUF_KEY_RESIDUAL_SCALE "residual_scale"
#define GGUF_KEY_LOGIT_SCALE "logit_scale" /* by which the logits are divided */
#define GGUF_KEY_ROPE_DIM "rope.dimension_count"
#define GGUF_KEY_THETA "rope.freq_base"
#define GGUF_KEY_SCALING "rope.scaling.type"
#define GGUF_KEY_FACTOR "rope.scaling.factor"
#define GGUF_KEY_ORIGINAL "rope.scaling.original_context_length"
#define GGUF_KEY_ATTN_FACTOR "rope.scaling.attn_factor"
#define GGUF_KEY_BETA_FAST "rope.scaling.yarn_beta_fast"
#define GGUF_KEY_BETA_SLOW "rope.scaling.yarn_beta_slow"
/* The tensor f32 [head_dim / 2] by whose values llama.cpp divides the RoPE frequencies, for llama3
 * scaling. */
#define GGUF_ROPE_FREQS "rope_freqs.weight"
#define GGUF_HEAD "output.weight"
#define GGUF_EMBEDDING "token_embd.weight"
/* A model has biases of a kind if its first layer has them. */
#define GGUF_Q_BIAS "blk.0.attn_q.bias"
#define GGUF_GATE_BIAS "blk.0.ffn_gate.bias"

#endif
