/* config.h - reads config.json of a LLaMA-family model, and describes the model.
 *
 * config.json is read as transformers 4.31 to 5 reads it, including the defaults of missing keys.
 * Where these versions differ, the file is read as 5.24 reads it, or refused. config_keys.h has the
 * list of keys.
 */
#ifndef LONGQLORA_CONFIG_H
#define LONGQLORA_CONFIG_H

#include "lib/common/bf16.h"
#include "lib/common/dtype.h"
#include "lib/llama/rope.h"

enum { CONFIG_LAYERS_MAX = 4096 };

/* A set of layers. */
struct layer_set {
    uint64_t word[CONFIG_LAYERS_MAX / 64];
};
static inline bool layer_set_has(const struct layer_set *s, int64_t layer)
{
    return s->word[layer / 64] >> layer % 64 & 1;
}
static inline void layer_set_add(struct layer_set *s, int64_t layer)
{
    s->word[layer / 64] |= (uint64_t)1 << layer % 64;
}

/* The function that the MLP applies to its gate. */
enum activation {
    ACTIVATION_SILU,
    ACTIVATION_GELU_TANH, /* GELU, approximated by tanh */
};

struct family;

struct config {
    const struct family *family; /* the row of the model_type in families.c */
    int64_t vocab, dim, ffn, layers, heads, kv_heads, head_dim;
    int64_t rotary_dim;   /* how many elements of a head, from its beginning, are rotated */
    int64_t max_position; /* max_position_embeddings */
    /* the context before position scaling: that in use, and that of the file */
    int64_t original_position, stored_original;
    int64_t limit;          /* longer contexts are refused; INT64_MAX: none is */
    double norm_eps, theta; /* theta: rope_theta before position scaling */
    /* The theta of the layers in `windowed`, which then have no position scaling. 0: all layers
     * have the same theta and scaling. */
    double local_theta;
    struct rope rope, stored_rope; /* the position scaling that is used, and that of the file */
    /* If one is not 0, training is refused, because the programs do not apply it. */
    double attention_dropout, residual_dropout;
    bool is_tied; /* the head uses the embedding's weights (tie_word_embeddings) */
    /* config.json says tied, but the stored head differs from the embedding */
    bool was_tied;

    /* What the model has in addition to LLaMA 2's features. */
    bool has_qkv_bias, has_o_bias, has_mlp_bias; /* which linear layers have a bias */
    bool has_head_norms; /* QK norm: each head of q and k passes through a norm before it is
                          * rotated */
    /* with has_head_norms: all heads of q pass through one norm together, and so do those of k */
    bool norms_join_heads;
    bool has_pre_norms; /* attention and MLP read the residual through norms */
    /* the outputs of attention and MLP pass through norms before they are added to the residual */
    bool has_post_norms;
    bool norm_adds_one;     /* norms multiply by 1 + weight */
    bool has_fused_qkv;     /* q, k and v are one linear layer */
    bool has_fused_gate_up; /* gate and up are one linear layer */
    enum activation activation;
    struct layer_set unrotated; /* the layers whose q and k are not rotated */
    /* Factors, which are applied in f32: of the embedding's output; of q·k (by default
     * head_dim^-0.5); of what attention and the MLP add to the residual; of the logits. For Granite
     * the last is 1 / logits_scaling. */
    double embedding_scale, attention_scale, residual_scale, logit_scale;
    /* The scale is first rounded to the type of the activations. */
    bool rounds_embedding_scale;
    int64_t window; /* sliding window: how many keys a query sees, its own key included */
    struct layer_set windowed; /* the layers that have the sliding window */

    char unknown[120]; /* unknown keys, which are ignored; see config_keys.h */
    json_t *json; /* the whole file, so that it can be written again; config_release frees it */
};

/* Fails if the directory holds an adapter instead of a model. The message names the adapter's
 * base. */
int config_refuse_adapter(const char *directory, struct fail *why) MUST_USE;
/* Fails if the model's directory also holds an adapter, which transformers would apply to it. */
int config_refuse_both(const char *directory, struct fail *why) MUST_USE;
/* Read a config: config_read from config.json or its directory, config_parse from a text. name: for
 * messages. The functions fail if the model is not supported, and the message gives the reason. The
 * caller calls config_release. */
int config_read(struct config *c, const char *path, struct fail *why) MUST_USE;
int config_parse(struct config *c, const char *text, const char *name, struct fail *why) MUST_USE;
int config_copy(struct config *to, const struct config *from, struct fail *why) MUST_USE;
void config_release(struct config *c);

/* Returns how many keys a query of this layer sees at most, its own key included; INT64_MAX:
 * all. */
static inline int64_t config_window(const struct config *c, int64_t layer)
{
    return layer_set_has(&c->windowed, layer) ? c->window : INT64_MAX;
}

/* Returns the embedding_scale to be used where activations have the type `act`. */
static inline float config_embedding_scale(const struct config *c, enum dtype act)
{
    float scale = (float)c->embedding_scale;
    if (!c->rounds_embedding_scale || act == DTYPE_F32) return scale;
    return act == DTYPE_BF16 ? bf16_to_float(bf16_from_float(scale))
                             : f16_to_float(f16_from_float(scale));
}

/* The context after position scaling. */
int64_t config_context(const struct config *c);

/* Extends the context by position interpolation (Chen et al. 2023) with the smallest whole
 * factor that reaches `context` from the original one, as LongQLoRA does. Never shortens the
 * context. Fails if `context` exceeds the limit, or if the model has another kind of position
 * scaling whose context is shorter than `context`. */
int config_extend(struct config *c, int64_t context, struct fail *why) MUST_USE;

/* Fails if the model cannot use a context of that many tokens. */
int config_check_context(const struct config *c, int64_t context, struct fail *why) MUST_USE;

/* Fails if transformers trains this model in a way that is not supported. */
int config_check_training(const struct config *c, struct fail *why) MUST_USE;

/* Overrides the original context, unless `original` is 0. Fails for longrope, whose factors belong
 * to the model's own original context. */
int config_set_original(struct config *c, int64_t original, struct fail *why) MUST_USE;

/* Fails if transformers does not read this kind of position scaling from the family's
 * config.json. */
int config_check_rope(const struct config *c, struct fail *why) MUST_USE;

/* Writes what the user should know about this config into text[size], on one line: unknown keys, or
 * a head that differs from the embedding although the file says tied. Returns false if there is
 * nothing. */
bool config_remark(const struct config *c, char *text, size_t size);

/* Writes "linear 2 (4096 → 8192), theta 10000" into text[size]. */
void config_describe_rope(const struct config *c, char *text, size_t size);

/* Returns a config.json for an unquantized model with this position scaling. Every version of
 * transformers since 4.31 can read it. The caller decrefs it. new_style: rope_type is written in
 * addition to type. */
json_t *config_to_json(const struct config *c, bool new_style);

/* Sets max_position_embeddings of a config.json to the context after position scaling. */
void config_put_whole_positions(const struct config *c, json_t *j);

/* Computes cos and sin [count, rotary_dim/2]; see rope_tables. For local_theta, local_rope.h has
 * another function. */
void config_rope_tables(const struct config *c, int64_t length, int64_t first, int64_t count,
                        float *cos_out, float *sin_out);

#endif
