#include "lib/llama/gguf_model.h"

#include "lib/llama/families.h"
#include "lib/llama/gguf_builder.h"
#include "lib/tokenizer/gguf_ends.h"

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
        fail_input(why, "general.type is '%.*s', but a model is needed",
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
    READ,     /* this file, gguf_positions.c or gguf_windows.c reads it */
    HARMLESS, /* changes no result */
    REFUSED,  /* never supported */
    OFF,      /* refused, unless it is 0, false or empty */
    OFF_AT_1, /* the same for a factor, which may also be 1 */
    SCALE,    /* read if the architecture has factors (has_scales); otherwise as OFF_AT_1 */
    /* Harmless without has_scales. With it, 0 is refused, because 0 turns off the rotation of q and
     * k. */
    ROTATES,
    WINDOWS, /* read if the architecture has windows (has_windows); otherwise as OFF */
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
    { GGUF_KEY_WINDOW_PATTERN, WINDOWS, "a window is not supported for this architecture" },
    { GGUF_KEY_LOCAL_THETA, WINDOWS, "another theta of some layers is not supported" },
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
    if (rule == WINDOWS) return !a->has_windows && !is_off(v, false);
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

/* Sets vocab_size to the number of the embedding's rows. */
static int put_vocab(const struct gguf_builder *m, struct fail *why)
{
    const struct gguf_tensor *t = gguf_tensor(m->g, GGUF_EMBEDDING);
    if (!t || t->dims != 2)
        return fail_input(why, "tensor %s is missing, or no matrix", GGUF_EMBEDDING);
    int64_t vocab = t->shape[0];
    if (gguf_builder_count(m, GGUF_KEY_VOCAB, &vocab, why)) return -1;
    if (vocab != t->shape[0])
        return fail_input(why, "vocab_size is %lld, but %s has %lld rows", (long long)vocab,
                          GGUF_EMBEDDING, (long long)t->shape[0]);
    return json_object_set_new(m->config, "vocab_size", json_integer(vocab))
               ? fail(why, "out of memory")
               : 0;
}

/* If only a part of each head is rotated, sets partial_rotary_factor. */
static int put_rotary(const struct gguf_builder *m, int64_t rotary_dim, int64_t head_dim,
                      struct fail *why)
{
    if (rotary_dim == head_dim) return 0;
    if (!m->architecture->has_longrope || rotary_dim > head_dim)
        return fail_input(why, "%s %lld of a head's %lld: partial rotation is not supported",
                          GGUF_KEY_ROPE_DIM, (long long)rotary_dim, (long long)head_dim);
    double share = (double)rotary_dim / (double)head_dim;
    /* transformers rounds the product down. */
    if ((int64_t)((double)head_dim * share) < rotary_dim) share = nextafter(share, 1);
    return json_object_set_new(m->config, "partial_rotary_factor", json_real(share))
               ? fail(why, "out of memory")
               : 0;
}

/* Reads head_dim, and how many elements of a head are rotated. head_dim is key_length or, if that
 * is missing, the width divided by the heads; value_length must be the same. */
static int put_head_dim(const struct gguf_builder *m, int64_t dim, int64_t heads, int64_t *head_dim,
                        int64_t *rotary_dim, struct fail *why)
{
    int64_t key = 0, value = 0;
    *rotary_dim = 0;
    if (gguf_builder_count(m, GGUF_KEY_KEY_LENGTH, &key, why) ||
        gguf_builder_count(m, GGUF_KEY_VALUE_LENGTH, &value, why) ||
        gguf_builder_count(m, GGUF_KEY_ROPE_DIM, rotary_dim, why))
        return -1;
    *head_dim = key ? key : dim / heads;
    if (!*rotary_dim) *rotary_dim = *head_dim;
    if (!key && dim % heads)
        return fail_input(why, "%s %lld is no multiple of %lld heads, and there is no %s",
                          GGUF_KEY_DIM, (long long)dim, (long long)heads, GGUF_KEY_KEY_LENGTH);
    if ((value ? value : dim / heads) != *head_dim)
        return fail_input(
            why, "heads whose values have another dimension than their keys (%s) are not supported",
            GGUF_KEY_VALUE_LENGTH);
    if (put_rotary(m, *rotary_dim, *head_dim, why)) return -1;
    /* If head_dim is missing, some families in transformers take 128 or 256 and not dim / heads. */
    enum head_dim_rule rule = family_find(m->architecture->model_types[0])->head_dim;
    bool is_quotient = rule != HEAD_DIM_128 && rule != HEAD_DIM_256;
    if (!key && !gguf_builder_has(m, GGUF_KEY_ROPE_DIM) && is_quotient) return 0;
    return json_object_set_new(m->config, "head_dim", json_integer(*head_dim))
               ? fail(why, "out of memory")
               : 0;
}

static int put_attention(const struct gguf_builder *m, int64_t *heads, struct fail *why)
{
    char key[160];
    int64_t kv_heads;
    bool is_causal = true;
    if (gguf_builder_put_count(m, GGUF_KEY_HEADS, "num_attention_heads", heads, why)) return -1;
    kv_heads = *heads;
    if (gguf_builder_count(m, GGUF_KEY_KV_HEADS, &kv_heads, why) ||
        gguf_get_flag(m->g, gguf_builder_key(m, "attention.causal", key), &is_causal, why))
        return -1;
    if (!is_causal)
        return fail_input(why,
                          "attention to later tokens (attention.causal false) is not supported");
    return json_object_set_new(m->config, "num_key_value_heads", json_integer(kv_heads))
               ? fail(why, "out of memory")
               : 0;
}

/* ---- the whole config ---- */

/* Sets the keys for which the family's default differs from what llama.cpp computes. */
static int put_features(const struct gguf_builder *m, struct fail *why)
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

/* Sets the keys that Gemma 3's config.json has and a GGUF lacks, because llama.cpp has their values
 * in its code: the activation, and the divisor of q·k. */
static int put_gemma3(const struct gguf_builder *m, int64_t dim, int64_t layers, int64_t heads,
                      int64_t head_dim, struct fail *why)
{
    int64_t scalar = gguf_attention_scalar(dim, layers, heads, head_dim);
    int status =
        json_object_set_new(m->config, "hidden_activation", json_string("gelu_pytorch_tanh"));
    status |= json_object_set_new(m->config, "query_pre_attn_scalar", json_integer(scalar));
    return status ? fail(why, "out of memory") : 0;
}

/* Returns torch_dtype, taken from the type of one matrix; float16 if that is quantized. */
static const char *dtype_of(const struct gguf *g)
{
    const struct gguf_tensor *t = gguf_tensor(g, "blk.0.attn_v.weight");
    if (!t) t = gguf_tensor(g, "blk.0.attn_qkv.weight");
    if (t && t->type == GGML_F32) return "float32";
    return t && t->type == GGML_BF16 ? "bfloat16" : "float16";
}

/* Sets eos_token_id: a list, if the file has several tokens that end an answer. */
static int put_ends(const struct gguf_builder *m, struct fail *why)
{
    struct end_tokens ends;
    if (gguf_ends_read(&ends, m->g, why)) return -1;
    if (!ends.count) return 0;
    json_t *list = json_array();
    for (int i = 0; i < ends.count; i++)
        json_array_append_new(list, json_integer(ends.ids[i]));
    json_t *value = ends.count == 1 ? json_incref(json_array_get(list, 0)) : json_incref(list);
    int status = json_object_set_new(m->config, "eos_token_id", value);
    json_decref(list);
    return status ? fail(why, "out of memory") : 0;
}

/* Sets the ids of BOS, the end tokens and padding. */
static int put_tokens(const struct gguf_builder *m, struct fail *why)
{
    static const char *const ids[2][2] = { { GGUF_KEY_BOS, "bos_token_id" },
                                           { GGUF_KEY_PADDING, "pad_token_id" } };
    for (int i = 0; i < 2; i++) {
        int64_t id = UINT32_MAX; /* no id; files use the same number for it */
        if (i && put_ends(m, why)) return -1;
        if (gguf_get_integer(m->g, ids[i][0], 0, UINT32_MAX, &id, why)) return -1;
        if (id != UINT32_MAX) json_object_set_new(m->config, ids[i][1], json_integer(id));
    }
    return 0;
}

/* Sets the factors of an architecture that has them. The factor of the logits must be there. For
 * the others a missing key means 1, except for attention: llama.cpp then takes head_dim^-0.5, but
 * transformers takes 1. */
static int put_scales(const struct gguf_builder *m, int64_t head_dim, struct fail *why)
{
    static const struct {
        const char *key, *to;
    } scales[] = { { GGUF_KEY_EMBEDDING_SCALE, "embedding_multiplier" },
                   { GGUF_KEY_ATTENTION_SCALE, "attention_multiplier" },
                   { GGUF_KEY_RESIDUAL_SCALE, "residual_multiplier" },
                   { GGUF_KEY_LOGIT_SCALE, "logits_scaling" } };
    if (!m->architecture->has_scales) return 0;
    double logit_scale = 0;
    if (gguf_builder_number(m, GGUF_KEY_LOGIT_SCALE, &logit_scale, why)) return -1;
    if (logit_scale == 0)
        return fail_input(why, "%s.%s is missing or 0", m->architecture->name,
                          GGUF_KEY_LOGIT_SCALE);
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double scale = 0; /* llama.cpp treats 0 as a missing key */
        if (gguf_builder_number(m, scales[i].key, &scale, why)) return -1;
        if (scale == 0 && !strcmp(scales[i].key, GGUF_KEY_ATTENTION_SCALE))
            scale = 1 / sqrt((double)head_dim);
        if (scale != 0 && gguf_builder_put_real(m, scales[i].to, scale, why)) return -1;
    }
    return 0;
}

static int make(const struct gguf_builder *m, struct fail *why)
{
    int64_t dim, ffn, layers, heads, head_dim, rotary_dim;
    double eps = 0;
    bool is_gemma3 = m->architecture->has_gelu;
    if (m->architecture->needs_head && !gguf_tensor(m->g, GGUF_HEAD))
        return fail_input(why, "tensor %s is missing", GGUF_HEAD);
    if (check_keys(m->g, m->architecture, why) || put_vocab(m, why) ||
        gguf_builder_put_count(m, GGUF_KEY_DIM, "hidden_size", &dim, why) ||
        gguf_builder_put_count(m, GGUF_KEY_FFN, "intermediate_size", &ffn, why) ||
        gguf_builder_put_count(m, GGUF_KEY_LAYERS, "num_hidden_layers", &layers, why) ||
        put_attention(m, &heads, why) || put_head_dim(m, dim, heads, &head_dim, &rotary_dim, why) ||
        gguf_builder_number(m, GGUF_KEY_NORM_EPS, &eps, why))
        return -1;
    if (!(eps > 0)) return fail_input(why, "%s is missing or not positive", GGUF_KEY_NORM_EPS);
    if (gguf_builder_put_real(m, "rms_norm_eps", eps, why) ||
        gguf_positions_read(m, rotary_dim, why) || gguf_windows_read(m, layers, why) ||
        put_features(m, why) || put_scales(m, head_dim, why))
        return -1;
    if (is_gemma3 && put_gemma3(m, dim, layers, heads, head_dim, why)) return -1;
    if (!is_gemma3) json_object_set_new(m->config, "hidden_act", json_string("silu"));
    json_object_set_new(m->config, "tie_word_embeddings",
                        json_boolean(!gguf_tensor(m->g, GGUF_HEAD)));
    json_object_set_new(m->config, "torch_dtype", json_string(dtype_of(m->g)));
    return put_tokens(m, why);
}

json_t *gguf_model_config(const struct gguf *g, struct fail *why)
{
    const struct gguf_architecture *a = gguf_model_architecture(g, why);
    if (!a) return NULL;
    struct gguf_builder m = { g, a, NULL };
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
