#include "lib/llama/gguf_model.h"

#include "lib/llama/families.h"
#include "lib/tokenizer/gguf_tokenizer.h"

#include <fnmatch.h>
#include <math.h>

/* ---- architecture and keys ---- */

const struct gguf_architecture *gguf_model_architecture(const struct gguf *g, struct fail *why)
{
    struct gguf_text name = { 0 }, type = { "model", 5 };
    if (gguf_get_text(g, GGUF_KEY_ARCHITECTURE, &name, why) ||
        gguf_get_text(g, GGUF_KEY_TYPE, &type, why))
        return NULL;
    if (!gguf_text_is(type, "model")) {
        fail_input(why, "its general.type is '%.*s', a model is needed",
                   (int)(type.bytes < 40 ? type.bytes : 40), type.at);
        return NULL;
    }
    char known[120] = "";
    for (size_t i = 0; gguf_architecture_at(i); i++) {
        const struct gguf_architecture *a = gguf_architecture_at(i);
        if (gguf_text_is(name, a->name)) return a;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", a->name);
    }
    fail_input(why, "general.architecture '%.*s' is not supported, only %s",
               (int)(name.bytes < 40 ? name.bytes : 40), name.at, known);
    return NULL;
}

enum rule {
    READ,     /* the code below reads it */
    HARMLESS, /* changes no result */
    REFUSED,  /* never supported */
    OFF,      /* refused, unless it is 0, false or an empty text */
    OFF_AT_1, /* the same for a factor, which may also be 1 */
    SCALE,    /* read if the architecture has factors (has_scales); otherwise as OFF_AT_1 */
    /* Harmless without has_scales. With it, 0 is refused, because 0 turns off the rotation of q and
     * k. */
    ROTATES,
};

/* The keys that describe a model in llama.cpp, without the prefix "{arch}.". A key that matches no
 * row is refused, because it might change the result. */
static const struct {
    const char *pattern;
    enum rule rule;
    const char *text;
} keys[] = {
    { GGUF_KEY_VOCAB, READ, "" },
    { GGUF_KEY_CONTEXT, READ, "" },
    { GGUF_KEY_LAYERS, READ, "" },
    { GGUF_KEY_DIM, READ, "" },
    { GGUF_KEY_FFN, READ, "" },
    { GGUF_KEY_HEADS, READ, "" },
    { GGUF_KEY_KV_HEADS, READ, "" },
    { GGUF_KEY_KEY_LENGTH, READ, "" },
    { GGUF_KEY_VALUE_LENGTH, READ, "" },
    { GGUF_KEY_NORM_EPS, READ, "" },
    { GGUF_KEY_WINDOW, READ, "" },
    { GGUF_KEY_ROPE_DIM, READ, "" },
    { GGUF_KEY_THETA, READ, "" },
    { GGUF_KEY_SCALING, READ, "" },
    { GGUF_KEY_FACTOR, READ, "" },
    { GGUF_KEY_ORIGINAL, READ, "" },
    { GGUF_KEY_ATTN_FACTOR, READ, "" },
    { GGUF_KEY_BETA_FAST, READ, "" },
    { GGUF_KEY_BETA_SLOW, READ, "" },
    { "attention.causal", READ, "" },
    { "attention.temperature_scale", OFF, "attention scaled by position is not supported" },
    { "use_parallel_residual", OFF, "parallel residuals are not supported" },
    { "rope.scale_linear", READ, "" },
    { "rope.scaling.finetuned", ROTATES, "layers without rotation are not supported" },
    { "tensor_data_layout", HARMLESS, "llama.cpp does not read it" },
    { "embedding_length_out", OFF, "an output of another width is not supported" },
    { "expert_*", OFF, "mixtures of experts are not supported" },
    { "moe_*", OFF, "mixtures of experts are not supported" },
    { "interleave_moe_layer_step", OFF, "mixtures of experts are not supported" },
    { "leading_dense_block_count", OFF, "mixtures of experts are not supported" },
    { GGUF_KEY_LOGIT_SCALE, SCALE, "scaled logits are not supported" },
    { GGUF_KEY_EMBEDDING_SCALE, SCALE, "scaled embeddings are not supported" },
    { GGUF_KEY_RESIDUAL_SCALE, SCALE, "scaled residuals are not supported" },
    { GGUF_KEY_ATTENTION_SCALE, SCALE, "another scale of attention is not supported" },
    { "attention.clamp_kqv", OFF, "clamped q, k and v are not supported" },
    { "attention.max_alibi_bias", OFF, "ALiBi is not supported" },
    { "attn_logit_softcapping", OFF, "capped logits (soft capping) are not supported" },
    { "final_logit_softcapping", OFF, "capped logits (soft capping) are not supported" },
    { "rope.scaling.yarn_log_multiplier", OFF, "this form of YaRN is not supported" },
    { "rope.scaling.yarn_ext_factor", OFF_AT_1, "this form of YaRN is not supported" },
    { "rope.dimension_sections", REFUSED, "positions of several dimensions are not supported" },
};

static bool is_off(const struct gguf_value *v, bool at_1)
{
    if (v->type == GGUF_STRING) {
        const char *at = v->at;
        return !gguf_next_text(&at).bytes;
    }
    if (v->type == GGUF_ARRAY) return !v->count;
    double value = gguf_number_at(v, 0);
    return value == 0 || (at_1 && value == 1);
}

static bool is_refused(const struct gguf_architecture *a, const struct gguf_value *v,
                       enum rule rule)
{
    if (rule == SCALE) return !a->has_scales && !is_off(v, true);
    if (rule == ROTATES) return a->has_scales && is_off(v, false);
    return rule == REFUSED || (rule >= OFF && !is_off(v, rule == OFF_AT_1));
}

static int check_key(const struct gguf_architecture *a, const struct gguf_value *v,
                     const char *name, struct fail *why)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (fnmatch(keys[i].pattern, name, 0)) continue;
        return is_refused(a, v, keys[i].rule) ? fail_input(why, "%.80s: %s", name, keys[i].text)
                                              : 0;
    }
    return fail_input(why, "%.80s is unknown, and may change what the model computes", name);
}

/* Fails at the first key with the architecture's prefix that is not supported. */
static int check_keys(const struct gguf *g, const struct gguf_architecture *a, struct fail *why)
{
    size_t length = strlen(a->name);
    for (size_t i = 0; i < g->value_count; i++) {
        const struct gguf_value *v = &g->values[i];
        char name[128];
        if (v->key.bytes <= length || memcmp(v->key.at, a->name, length) != 0 ||
            v->key.at[length] != '.')
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(v->key.bytes - length - 1),
                 v->key.at + length + 1);
        if (check_key(a, v, name, why)) return fail_in(why, a->name);
    }
    return 0;
}

/* ---- sizes ---- */

/* A config.json while it is made from a GGUF. */
struct making {
    const struct gguf *g;
    const struct gguf_architecture *architecture;
    json_t *config;
};

static const char *key_of(const struct making *m, const char *name, char key[160])
{
    snprintf(key, 160, "%s.%s", m->architecture->name, name);
    return key;
}

static int get_count(const struct making *m, const char *name, int64_t *to, struct fail *why)
{
    char key[160];
    return gguf_get_integer(m->g, key_of(m, name, key), 0, INT64_C(1) << 40, to, why);
}

static int get_number(const struct making *m, const char *name, double *to, struct fail *why)
{
    char key[160];
    return gguf_get_number(m->g, key_of(m, name, key), to, why);
}

static bool has(const struct making *m, const char *name)
{
    char key[160];
    return gguf_find(m->g, key_of(m, name, key));
}

/* Copies a size, which is required. */
static int put_count(const struct making *m, const char *name, const char *to, int64_t *value,
                     struct fail *why)
{
    *value = 0;
    if (get_count(m, name, value, why)) return -1;
    if (!*value) return fail_input(why, "%s.%s is missing or 0", m->architecture->name, name);
    return json_object_set_new(m->config, to, json_integer(*value)) ? fail(why, "out of memory")
                                                                    : 0;
}

json_t *gguf_model_real(double value)
{
    char text[40];
    for (int digits = 6; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value) break;
    }
    return json_real((double)(float)value == value ? strtod(text, NULL) : value);
}

static int put_real(const struct making *m, const char *to, double value, struct fail *why)
{
    json_t *real = gguf_model_real(value);
    if (!real) return fail_input(why, "%s is %f", to, value);
    return json_object_set_new(m->config, to, real) ? fail(why, "out of memory") : 0;
}

/* Sets vocab_size to the number of the embedding's rows. */
static int put_vocab(const struct making *m, struct fail *why)
{
    const struct gguf_tensor *t = gguf_tensor(m->g, GGUF_EMBEDDING);
    if (!t || t->dims != 2)
        return fail_input(why, "tensor %s is missing, or no matrix", GGUF_EMBEDDING);
    int64_t vocab = t->shape[0];
    if (get_count(m, GGUF_KEY_VOCAB, &vocab, why)) return -1;
    if (vocab != t->shape[0])
        return fail_input(why, "vocab_size %lld, but %s has %lld rows", (long long)vocab,
                          GGUF_EMBEDDING, (long long)t->shape[0]);
    return json_object_set_new(m->config, "vocab_size", json_integer(vocab))
               ? fail(why, "out of memory")
               : 0;
}

/* Reads the dimension of a head. Three keys may have it; they must agree. */
static int put_head_dim(const struct making *m, int64_t dim, int64_t heads, int64_t *head_dim,
                        struct fail *why)
{
    int64_t key = 0, value = 0, rotated = 0;
    if (get_count(m, GGUF_KEY_KEY_LENGTH, &key, why) ||
        get_count(m, GGUF_KEY_VALUE_LENGTH, &value, why) ||
        get_count(m, GGUF_KEY_ROPE_DIM, &rotated, why))
        return -1;
    *head_dim = key ? key : dim / heads;
    if (!key && dim % heads)
        return fail_input(why, "%s %lld is no multiple of %lld heads, and there is no %s",
                          GGUF_KEY_DIM, (long long)dim, (long long)heads, GGUF_KEY_KEY_LENGTH);
    if ((value ? value : dim / heads) != *head_dim)
        return fail_input(
            why, "heads whose values have another dimension than their keys (%s) are not supported",
            GGUF_KEY_VALUE_LENGTH);
    if (rotated && rotated != *head_dim)
        return fail_input(why, "%s %lld of a head's %lld: partial rotation is not supported",
                          GGUF_KEY_ROPE_DIM, (long long)rotated, (long long)*head_dim);
    /* If head_dim is missing, some families in transformers take 128 and not dim / heads. */
    bool is_quotient = family_find(m->architecture->model_types[0])->head_dim != HEAD_DIM_128;
    if (!key && !has(m, GGUF_KEY_ROPE_DIM) && is_quotient) return 0;
    return json_object_set_new(m->config, "head_dim", json_integer(*head_dim))
               ? fail(why, "out of memory")
               : 0;
}

static int put_attention(const struct making *m, int64_t *heads, struct fail *why)
{
    char key[160];
    int64_t kv_heads, window = 0;
    bool is_causal = true;
    if (put_count(m, GGUF_KEY_HEADS, "num_attention_heads", heads, why)) return -1;
    kv_heads = *heads;
    if (get_count(m, GGUF_KEY_KV_HEADS, &kv_heads, why) ||
        get_count(m, GGUF_KEY_WINDOW, &window, why) ||
        gguf_get_flag(m->g, key_of(m, "attention.causal", key), &is_causal, why))
        return -1;
    if (!is_causal)
        return fail_input(why,
                          "attention to later tokens (attention.causal false) is not supported");
    if (window)
        return fail_input(why, "%s: a window is not computed for this architecture",
                          GGUF_KEY_WINDOW);
    return json_object_set_new(m->config, "num_key_value_heads", json_integer(kv_heads))
               ? fail(why, "out of memory")
               : 0;
}

/* ---- position scaling ---- */

static int put_yarn(const struct making *m, json_t *scaling, struct fail *why)
{
    double fast = 0, slow = 0;
    if (get_number(m, GGUF_KEY_BETA_FAST, &fast, why) ||
        get_number(m, GGUF_KEY_BETA_SLOW, &slow, why))
        return -1;
    if (has(m, GGUF_KEY_BETA_FAST))
        json_object_set_new(scaling, "beta_fast", gguf_model_real(fast));
    if (has(m, GGUF_KEY_BETA_SLOW))
        json_object_set_new(scaling, "beta_slow", gguf_model_real(slow));
    return 0;
}

/* Reads linear or yarn scaling. For linear scaling, llama.cpp's converters write
 * max_position_embeddings as the context length, and no original context length. If a file has an
 * original context length, as with yarn, its context length is the context after scaling. */
static int put_scaling(const struct making *m, const char *type, struct fail *why)
{
    int64_t original = 0;
    double factor = 0;
    if (get_count(m, GGUF_KEY_ORIGINAL, &original, why) ||
        get_number(m, GGUF_KEY_FACTOR, &factor, why))
        return -1;
    if (!(factor >= 1) || factor > 1000000)
        return fail_input(why, "%s %g for %s positions", GGUF_KEY_FACTOR, factor, type);
    json_t *scaling = json_pack("{s:s,s:s,s:o}", "type", type, "rope_type", type, "factor",
                                gguf_model_real(factor));
    if (!scaling) return fail(why, "out of memory");
    json_object_set_new(m->config, "rope_scaling", scaling);
    if (!strcmp(type, "linear")) {
        if (original)
            json_object_set_new(m->config, "max_position_embeddings", json_integer(original));
        return 0;
    }
    if (!original) return fail_input(why, "yarn positions without %s", GGUF_KEY_ORIGINAL);
    json_object_set_new(scaling, "original_max_position_embeddings", json_integer(original));
    return put_yarn(m, scaling, why);
}

static int put_positions(const struct making *m, int64_t head_dim, struct fail *why)
{
    char key[160];
    double theta = 10000, linear = 1, factor = 0, attention = 1;
    struct gguf_text type = { "none", 4 };
    int64_t context;
    if (put_count(m, GGUF_KEY_CONTEXT, "max_position_embeddings", &context, why) ||
        get_number(m, GGUF_KEY_THETA, &theta, why) || put_real(m, "rope_theta", theta, why) ||
        gguf_get_text(m->g, key_of(m, GGUF_KEY_SCALING, key), &type, why) ||
        get_number(m, "rope.scale_linear", &linear, why) ||
        get_number(m, GGUF_KEY_FACTOR, &factor, why) ||
        get_number(m, GGUF_KEY_ATTN_FACTOR, &attention, why))
        return -1;
    if (attention != 1)
        return fail_input(why, "%s %g is not supported", GGUF_KEY_ATTN_FACTOR, attention);
    /* A factor without a type is linear in llama.cpp, which takes 0 as absent. */
    if (!has(m, GGUF_KEY_SCALING) && factor != 0 && factor != 1)
        type = (struct gguf_text){ "linear", 6 };
    if (linear != 1)
        return fail_input(why, "rope.scale_linear, the old spelling of linear positions, is not "
                               "supported: convert the model again with a current llama.cpp");
    bool has_factors = gguf_tensor(m->g, GGUF_ROPE_FREQS);
    if (has_factors && !m->architecture->has_factors)
        return fail_input(why, "tensor %s: llama.cpp's %s has no such tensor", GGUF_ROPE_FREQS,
                          m->architecture->name);
    if (has_factors && !gguf_text_is(type, "none"))
        return fail_input(why, "both %s and %s: only one is possible", GGUF_KEY_SCALING,
                          GGUF_ROPE_FREQS);
    if (has_factors) return gguf_model_llama3(m->g, m->config, head_dim, theta, why);
    if (gguf_text_is(type, "linear")) return put_scaling(m, "linear", why);
    if (gguf_text_is(type, "yarn")) return put_scaling(m, "yarn", why);
    if (gguf_text_is(type, "none")) return 0;
    return fail_input(why, "%s '%.*s' is not supported, only none, linear and yarn",
                      GGUF_KEY_SCALING, (int)(type.bytes < 40 ? type.bytes : 40), type.at);
}

/* ---- the whole config ---- */

/* Sets the keys for which the family's default differs from what llama.cpp computes. */
static int put_features(const struct making *m, struct fail *why)
{
    const struct gguf_architecture *a = m->architecture;
    json_t *config = m->config;
    int status = 0;
    if (a->has_all_biases && gguf_tensor(m->g, GGUF_Q_BIAS))
        status |= json_object_set_new(config, "attention_bias", json_true());
    if (a->has_all_biases && gguf_tensor(m->g, GGUF_GATE_BIAS))
        status |= json_object_set_new(config, "mlp_bias", json_true());
    if (!strcmp(a->model_types[0], "mistral"))
        status |= json_object_set_new(config, "sliding_window", json_null());
    return status ? fail(why, "out of memory") : 0;
}

/* Returns torch_dtype, taken from the type of one matrix; float16 if that is quantized. */
static const char *dtype_of(const struct gguf *g)
{
    const struct gguf_tensor *t = gguf_tensor(g, "blk.0.attn_v.weight");
    if (t && t->type == GGML_F32) return "float32";
    return t && t->type == GGML_BF16 ? "bfloat16" : "float16";
}

/* Sets the ids of BOS, EOS and padding. If the file has another id for the end of a turn (EOT),
 * eos_token_id becomes a list of both. */
static int put_tokens(const struct making *m, struct fail *why)
{
    static const struct {
        const char *key, *to;
    } ids[] = { { GGUF_KEY_BOS, "bos_token_id" },
                { GGUF_KEY_EOS, "eos_token_id" },
                { GGUF_KEY_PADDING, "pad_token_id" },
                { GGUF_KEY_EOT, NULL } };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int64_t id = UINT32_MAX; /* no id; files use the same number for it */
        if (gguf_get_integer(m->g, ids[i].key, 0, UINT32_MAX, &id, why)) return -1;
        json_t *eos = json_object_get(m->config, "eos_token_id");
        if (id == UINT32_MAX) continue;
        if (ids[i].to)
            json_object_set_new(m->config, ids[i].to, json_integer(id));
        else if (eos && json_integer_value(eos) != id)
            json_object_set_new(m->config, "eos_token_id",
                                json_pack("[I,I]", json_integer_value(eos), (json_int_t)id));
    }
    return 0;
}

/* Sets the factors of an architecture that has them. A missing key means a factor of 1, except for
 * attention: llama.cpp then takes head_dim^-0.5, but transformers takes 1. */
static int put_scales(const struct making *m, int64_t head_dim, struct fail *why)
{
    static const struct {
        const char *key, *to;
    } scales[] = { { GGUF_KEY_EMBEDDING_SCALE, "embedding_multiplier" },
                   { GGUF_KEY_ATTENTION_SCALE, "attention_multiplier" },
                   { GGUF_KEY_RESIDUAL_SCALE, "residual_multiplier" },
                   { GGUF_KEY_LOGIT_SCALE, "logits_scaling" } };
    if (!m->architecture->has_scales) return 0;
    if (!has(m, GGUF_KEY_LOGIT_SCALE))
        return fail_input(why, "%s.%s is missing", m->architecture->name, GGUF_KEY_LOGIT_SCALE);
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double scale = 0; /* llama.cpp treats 0 as a missing key */
        if (get_number(m, scales[i].key, &scale, why)) return -1;
        if (scale == 0 && !strcmp(scales[i].key, GGUF_KEY_ATTENTION_SCALE))
            scale = 1 / sqrt((double)head_dim);
        if (scale != 0 && put_real(m, scales[i].to, scale, why)) return -1;
    }
    return 0;
}

static int make(const struct making *m, struct fail *why)
{
    int64_t dim, ffn, layers, heads, head_dim;
    double eps = 0;
    if (check_keys(m->g, m->architecture, why) || put_vocab(m, why) ||
        put_count(m, GGUF_KEY_DIM, "hidden_size", &dim, why) ||
        put_count(m, GGUF_KEY_FFN, "intermediate_size", &ffn, why) ||
        put_count(m, GGUF_KEY_LAYERS, "num_hidden_layers", &layers, why) ||
        put_attention(m, &heads, why) || put_head_dim(m, dim, heads, &head_dim, why) ||
        get_number(m, GGUF_KEY_NORM_EPS, &eps, why))
        return -1;
    if (!(eps > 0)) return fail_input(why, "%s is missing or not positive", GGUF_KEY_NORM_EPS);
    if (put_real(m, "rms_norm_eps", eps, why) || put_positions(m, head_dim, why) ||
        put_features(m, why) || put_scales(m, head_dim, why))
        return -1;
    json_object_set_new(m->config, "hidden_act", json_string("silu"));
    json_object_set_new(m->config, "tie_word_embeddings",
                        json_boolean(!gguf_tensor(m->g, GGUF_HEAD)));
    json_object_set_new(m->config, "torch_dtype", json_string(dtype_of(m->g)));
    return put_tokens(m, why);
}

json_t *gguf_model_config(const struct gguf *g, struct fail *why)
{
    const struct gguf_architecture *a = gguf_model_architecture(g, why);
    if (!a) return NULL;
    struct making m = { g, a, NULL };
    m.config = json_pack("{s:[s],s:s}", "architectures", a->class, "model_type", a->model_types[0]);
    if (!m.config) {
        fail(why, "out of memory");
        return NULL;
    }
    if (!make(&m, why)) return m.config;
    json_decref(m.config);
    return NULL;
}

int gguf_model_read_config(struct config *c, const struct gguf *g, const char *path,
                           struct fail *why)
{
    *c = (struct config){ 0 };
    json_t *config = gguf_model_config(g, why);
    if (!config) return fail_in(why, path);
    char *text = json_dumps(config, JSON_COMPACT);
    json_decref(config);
    if (!text) return fail(why, "%s: out of memory", path);
    int status = config_parse(c, text, path, why);
    free(text);
    return status;
}
