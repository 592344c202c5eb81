/* families.h - the supported model families, and what each adds to LLaMA.
 *
 * A family is a row of the table in families.c. The row has the model_type and transformers'
 * defaults for keys that config.json lacks. It also points to the family's own file (family_qwen.c
 * and so on), which has the family's keys and a function that reads them into the features of
 * struct config. All other code asks for features, never for families. CONTRIBUTING.md says how to
 * add a family.
 */
#ifndef LONGQLORA_FAMILIES_H
#define LONGQLORA_FAMILIES_H

#include "lib/llama/config.h"
#include "lib/llama/config_keys.h"

/* What a family's own file, such as family_qwen.c, defines. */
struct family_features {
    /* The keys of config.json that only some families have, or that mean something else in this
     * family. They take precedence over the rows of config_keys.c. A row without a name is the
     * last. */
    const struct config_key *keys;
    /* Reads these keys and sets the features in *c, whose sizes have already been read. */
    int (*read)(struct config *c, struct fail *why);
};

/* The value that transformers takes if head_dim is absent or null. */
enum head_dim_rule {
    /* Absent or null: hidden_size / num_attention_heads, which must be a whole number. */
    HEAD_DIM_WHOLE,
    HEAD_DIM_FLOOR,  /* absent or null: the same quotient, rounded down */
    HEAD_DIM_ABSENT, /* absent: the same quotient, rounded down; null: an error */
    HEAD_DIM_128,    /* absent: 128; null: an error */
    HEAD_DIM_256,    /* absent: 256; null: an error */
    HEAD_DIM_NEEDED, /* absent or null: an error */
};

struct family {
    const char *model_type;
    /* The values of missing keys. kv_heads 0: the same number as heads. */
    int64_t vocab, dim, ffn, layers, heads, kv_heads, max_position;
    double theta;
    /* If it is not 0, layers with a window have this theta, and their own object in
     * rope_parameters. */
    double local_theta;
    enum head_dim_rule head_dim;
    bool needs_kv_heads; /* transformers fails if num_key_value_heads is null */
    /* The key that names the activation, and the value if the key is missing. NULL: the key is
     * hidden_act, and the value is silu. */
    const char *activation_key;
    enum activation activation;
    bool is_tied;
    /* The key partial_rotary_factor is read, so that only a part of each head may be rotated. */
    bool has_partial_rotary;
    /* longrope is the only position scaling that transformers reads. original_position is the
     * original context if the file has none. */
    bool has_longrope;
    int64_t original_position;
    bool reads_attention_bias, reads_mlp_bias; /* config.json may ask for these biases */
    bool has_peft_targets; /* PEFT 0.21 uses q_proj and v_proj if target_modules is null */
    const struct family_features *features;
};

extern const struct family_features family_llama, family_mistral, family_ministral, family_qwen2,
    family_qwen3, family_smollm3, family_granite, family_olmo2, family_gemma3, family_phi3;

/* Row i of the table; NULL after the last. */
const struct family *family_at(size_t i);
/* The row of this model_type; NULL if there is none. */
const struct family *family_find(const char *model_type);
/* Returns what a user can do with a model of an unsupported type, as the end of a message, which
 * begins with "; ". Returns "" if there is no advice for the type. */
const char *family_advice(const char *model_type);

/* ---- functions that several families use ---- */

/* Reads sliding_window into *window. `fallback` is the value if the key is missing. null means no
 * window, which is INT64_MAX. */
int family_read_window(const struct config *c, int64_t fallback, int64_t *window,
                       struct fail *why) MUST_USE;
/* Reads layer_types: the layers of type sliding_attention become c->windowed, and c->window becomes
 * `window`. Returns 1 if there is such a list, 0 if there is none. Fails if the list names an
 * unknown type of layer, or names sliding_attention although there is no window. */
int family_read_layer_types(struct config *c, int64_t window, struct fail *why) MUST_USE;
/* Sets the attention window of all layers from `first` on. Does nothing if `window` is
 * INT64_MAX. */
void family_set_window(struct config *c, int64_t window, int64_t first);
/* Read attention_bias, which gives q, k, v and o biases, and mlp_bias, which gives gate, up and
 * down biases. */
int family_read_attention_bias(struct config *c, struct fail *why) MUST_USE;
int family_read_mlp_bias(struct config *c, struct fail *why) MUST_USE;
/* Reads the keys of FAMILY_NO_WINDOW: a sliding_window, which only limits the context; layer_types,
 * which must all be full_attention. */
int family_read_no_window(struct config *c, struct fail *why) MUST_USE;
/* Reads the keys of FAMILY_BIASES_NO_WINDOW: both kinds of biases, and those of FAMILY_NO_WINDOW.
 */
int family_read_biases_no_window(struct config *c, struct fail *why) MUST_USE;

/* Reads a factor into *scale, which keeps its value if the key is missing. Fails if the factor is
 * null or not positive. */
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
            "transformers reads it only in other families; see sliding_window"                     \
    }
#define FAMILY_NO_WINDOW_LAYERS                                                                    \
    {                                                                                              \
        "max_window_layers", CONFIG_KEY_HARMLESS, "transformers reads it only in other families"   \
    }

/* The rows of family_read_no_window. */
#define FAMILY_NO_WINDOW                                                                           \
    { "sliding_window", CONFIG_KEY_UNDERSTOOD,                                                     \
      "longer contexts are refused: transformers' attention ignores the window, but its "          \
      "caches do not" },                                                                           \
        { "layer_types", CONFIG_KEY_UNDERSTOOD, "must be `full_attention` for every layer" },      \
        FAMILY_NO_USE_WINDOW, FAMILY_NO_WINDOW_LAYERS

/* The rows of family_read_biases_no_window. */
#define FAMILY_BIASES_NO_WINDOW FAMILY_ATTENTION_BIAS, FAMILY_MLP_BIAS, FAMILY_NO_WINDOW

#endif
