/* families.h - the supported model families, and what each adds to LLaMA.
 *
 * A family is a row of the table in families.c: its model_type, what transformers takes for keys
 * that config.json lacks, and what the family's own file (family_qwen.c and so on) says: its keys,
 * and a function that reads them into the features of struct config. All other code asks for
 * features, never for families. CONTRIBUTING.md tells how to add one.
 */
#ifndef LONGQLORA_FAMILIES_H
#define LONGQLORA_FAMILIES_H

#include "lib/llama/config.h"
#include "lib/llama/config_keys.h"

/* What a family's own file, such as family_qwen.c, defines. */
struct family_features {
    /* The keys of config.json that only some families have, or that mean something else in this
     * family. They take precedence over those of config_keys.c, and end with a row without a
     * name. */
    const struct config_key *keys;
    /* Reads these keys and sets the features in *c, whose sizes have already been read. */
    int (*read)(struct config *c, struct fail *why);
};

/* What transformers does if head_dim is absent or null. */
enum head_dim_rule {
    HEAD_DIM_WHOLE,  /* absent or null: hidden_size / num_attention_heads, which must be whole */
    HEAD_DIM_FLOOR,  /* absent or null: that quotient, rounded down */
    HEAD_DIM_ABSENT, /* absent: that quotient, rounded down; null: an error */
    HEAD_DIM_128,    /* absent: 128; null: an error */
    HEAD_DIM_256,    /* absent: 256; null: an error */
    HEAD_DIM_NEEDED, /* absent or null: an error */
};

struct family {
    const char *model_type;
    /* The values of missing keys. kv_heads 0: as many as heads. */
    int64_t vocab, dim, ffn, layers, heads, kv_heads, max_position;
    double theta;
    /* Not 0: layers with a window have this theta, and their own object in rope_parameters. */
    double local_theta;
    enum head_dim_rule head_dim;
    bool needs_kv_heads; /* transformers fails at a null for num_key_value_heads */
    /* NULL: hidden_act, and silu if that is missing */
    const char *activation_key;
    enum activation activation;
    bool is_tied;
    bool has_partial_rotary; /* partial_rotary_factor is read: a part of each head is rotated */
    /* Of scaled positions, transformers reads longrope alone. original_position is the original
     * context if the file names none. */
    bool has_longrope;
    int64_t original_position;
    bool reads_attention_bias, reads_mlp_bias; /* config.json may ask for these biases */
    bool has_peft_targets; /* PEFT 0.21 takes q_proj and v_proj if target_modules is null */
    const struct family_features *features;
};

extern const struct family_features family_llama, family_mistral, family_ministral, family_qwen2,
    family_qwen3, family_smollm3, family_granite, family_gemma3, family_phi3;

/* Row i of the table; NULL after the last. */
const struct family *family_at(size_t i);
/* The row of this model_type; NULL if there is none. */
const struct family *family_find(const char *model_type);
/* What to do with a model of a type that is not computed, with "; " before it; "" if nothing is
 * known. */
const char *family_advice(const char *model_type);

/* ---- what several families read in the same way ---- */

/* Reads sliding_window into *window. `standard` is the value of a missing key; INT64_MAX, for a
 * null, is no window. */
int family_read_window(const struct config *c, int64_t standard, int64_t *window,
                       struct fail *why) MUST_USE;
/* Reads layer_types: the layers of type sliding_attention become c->windowed, and c->window becomes
 * `window`. Returns 1 if there is such a list, 0 if there is none. Fails if the list names an
 * unknown type of layer, or names sliding_attention although there is no window. */
int family_read_layer_types(struct config *c, int64_t window, struct fail *why) MUST_USE;
/* Sets the attention window of all layers from `first` on. Does nothing if it is INT64_MAX. */
void family_set_window(struct config *c, int64_t window, int64_t first);
/* Reads attention_bias: biases on q, k, v and o. Reads mlp_bias: on gate, up and down. */
int family_read_attention_bias(struct config *c, struct fail *why) MUST_USE;
int family_read_mlp_bias(struct config *c, struct fail *why) MUST_USE;

/* Reads a factor into *scale, which stays as it is if the key is missing. Fails if it is null or
 * not positive. */
int family_read_scale(const struct config *c, const char *key, double *scale,
                      struct fail *why) MUST_USE;

/* Rows of keys that mean the same in several families. */
#define FAMILY_ATTENTION_BIAS                                                                      \
    {                                                                                              \
        "attention_bias", CONFIG_KEY_UNDERSTOOD, "true: biases on q, k, v and o; absent: false"    \
    }
#define FAMILY_MLP_BIAS                                                                            \
    {                                                                                              \
        "mlp_bias", CONFIG_KEY_UNDERSTOOD, "true: biases on gate, up and down; absent: false"      \
    }
#define FAMILY_NO_USE_WINDOW                                                                       \
    {                                                                                              \
        "use_sliding_window", CONFIG_KEY_HARMLESS,                                                 \
            "transformers reads it of other types alone; see sliding_window"                       \
    }
#define FAMILY_NO_WINDOW_LAYERS                                                                    \
    {                                                                                              \
        "max_window_layers", CONFIG_KEY_HARMLESS, "transformers reads it of other types alone"     \
    }

#endif
