#include "lib/llama/gguf_config.h"

#include "lib/llama/families.h"
#include "lib/llama/local_rope.h"

#include <math.h>
#include <stdio.h>

/* ---- what llama.cpp supports ---- */

/* YaRN's factor of cos and sin, which llama.cpp computes itself. */
static double yarn_attention(const struct config *c) { return 0.1 * log(c->rope.factor) + 1; }

/* Fails because the config's `key` asks for something that llama.cpp's architecture lacks: `what`.
 */
static int lacks(const struct gguf_architecture *a, const char *key, const char *what,
                 struct fail *why)
{
    return fail_input(why,
                      "%s: llama.cpp's %s has no %s: use the merged directory with another server",
                      key, a->name, what);
}

static int check_positions(const struct config *c, const struct gguf_architecture *a,
                           struct fail *why)
{
    const struct rope *r = &c->rope;
    bool has_windows = a->has_windows && c->window < INT64_MAX;
    if (r->type == ROPE_DYNAMIC)
        return fail_input(
            why, "dynamic positions change with the text's length, which llama.cpp does not "
                 "support: --rope linear, ntk or yarn, if the model was trained with them");
    if (r->type == ROPE_YARN && r->is_exact)
        return fail_input(why, "yarn positions with truncate false: llama.cpp rounds the ends of "
                               "the ramp");
    if (r->type == ROPE_YARN && (r->high != 32 || r->low != 1))
        return fail_input(why,
                          "yarn positions with beta_fast %g and beta_slow %g: llama.cpp reads "
                          "neither for this model, and takes 32 and 1",
                          r->high, r->low);
    /* llama.cpp has one factor of cos and sin for all layers. */
    if (r->type == ROPE_YARN && has_windows && fabs(r->attention / yarn_attention(c) - 1) > 1e-6)
        return lacks(a, "yarn positions with an attention_factor",
                     "factor of cos and sin for layers without a window alone", why);
    if (r->type == ROPE_LONGROPE && !a->has_longrope)
        return lacks(a, "longrope positions", "tensors for its factors", why);
    return 0;
}

/* Fails if a layer's window is shorter than the context, and llama.cpp's architecture has no
 * sliding window. llama.cpp would compute another result for a text that is longer than the window.
 */
static int check_window(const struct config *c, const struct gguf_architecture *a, struct fail *why)
{
    if (a->has_windows) return 0;
    for (int64_t l = 0; l < c->layers; l++)
        if (config_window(c, l) < config_context(c))
            return fail_input(why,
                              "sliding_window %lld is shorter than the context of %lld, and "
                              "llama.cpp would attend to all of it: use the merged directory with "
                              "another server, or write a smaller max_position_embeddings",
                              (long long)config_window(c, l), (long long)config_context(c));
    return 0;
}

/* Fails if the model has a feature that llama.cpp's code for the architecture does not compute. */
static int check_features(const struct config *c, const struct gguf_architecture *a,
                          struct fail *why)
{
    enum activation activation = a->has_gelu ? ACTIVATION_GELU_TANH : ACTIVATION_SILU;
    double scalar = (double)gguf_attention_scalar(c->dim, c->layers, c->heads, c->head_dim);
    if (c->activation != activation)
        return lacks(a, a->has_gelu ? "hidden_activation" : "hidden_act",
                     a->has_gelu ? "other gate than gelu_pytorch_tanh" : "other gate than silu",
                     why);
    if (a->has_windows && fabs(c->attention_scale * sqrt(scalar) - 1) > 1e-6)
        return lacks(a, "query_pre_attn_scalar",
                     "other divisor of q·k than that of head_dim (with 62 layers: of hidden_size / "
                     "num_attention_heads)",
                     why);
    if (c->has_o_bias && !a->has_all_biases)
        return lacks(a, "attention_bias", "bias on o_proj", why);
    if (c->has_mlp_bias && !a->has_all_biases)
        return lacks(a, "mlp_bias", "biases in the MLP", why);
    if (c->is_tied && a->needs_head)
        return lacks(a, "tie_word_embeddings", "head that uses the embedding's weights", why);
    if (c->has_head_norms && !a->has_head_norms)
        return lacks(a, "q_norm and k_norm", "QK norm", why);
    if (c->rope.type == ROPE_LLAMA3 && !a->has_factors)
        return lacks(a, "llama3 positions", "factors of frequencies (rope_freqs.weight)", why);
    if (a->has_whole_heads && c->heads * c->head_dim != c->dim)
        return lacks(a, "head_dim", "heads that together are wider or narrower than the model",
                     why);
    for (int64_t l = 0; l < c->layers; l++)
        if (layer_set_has(&c->unrotated, l) != (a->unrotated && (l + 1) % a->unrotated == 0))
            return lacks(a, "no_rope_layers", "other such layers than every fourth one", why);
    return 0;
}

static const struct gguf_architecture *find_architecture(const char *model_type)
{
    const struct gguf_architecture *a;
    for (size_t i = 0; (a = gguf_architecture_at(i)); i++)
        for (size_t j = 0; j < 4 && a->model_types[j]; j++)
            if (!strcmp(a->model_types[j], model_type)) return a;
    return NULL;
}

const struct gguf_architecture *gguf_config_architecture(const struct config *c, struct fail *why)
{
    const struct gguf_architecture *a = find_architecture(c->family->model_type);
    if (!a) {
        (void)fail_input(why, "model_type '%.40s' is not written as GGUF here",
                         c->family->model_type);
        return NULL;
    }
    bool is_refused =
        check_positions(c, a, why) || check_window(c, a, why) || check_features(c, a, why);
    return is_refused ? NULL : a;
}

/* ---- keys of the file ---- */

enum { QUANTIZATION_VERSION = 2 };

/* llama.cpp's numbers of file types (llama_ftype). */
static uint32_t file_type(enum ggml_type type)
{
    switch (type) {
    case GGML_F16:
        return 1;
    case GGML_Q4_0:
        return 2;
    case GGML_Q8_0:
        return 7;
    case GGML_BF16:
        return 32;
    default:
        return 0;
    }
}

/* Writes "135M" or "6.7B": at least two digits, as in llama.cpp's size_label. */
static void size_label(int64_t parameters, char *text, size_t size)
{
    static const struct {
        double above, scale;
        char unit;
    } units[] = { { 1e12, 1e-12, 'T' }, { 1e9, 1e-9, 'B' }, { 1e6, 1e-6, 'M' }, { -1, 1e-3, 'K' } };
    int i = 0;
    while ((double)parameters <= units[i].above)
        i++;
    double scaled = (double)parameters * units[i].scale, whole = rint(scaled);
    int digits = whole >= 10 ? 0 : whole >= 1 ? 1 : 2;
    snprintf(text, size, "%.*f%c", digits, scaled, units[i].unit);
}

static void put_text(struct gguf_keys *k, const char *key, const char *text)
{
    gguf_keys_text(k, key, text, strlen(text));
}

void gguf_config_put_general(struct gguf_keys *k, const struct gguf_architecture *a,
                             const struct gguf_general *general)
{
    char label[40];
    put_text(k, GGUF_KEY_ARCHITECTURE, a->name);
    put_text(k, GGUF_KEY_TYPE, general->type);
    if (general->name) put_text(k, "general.name", general->name);
    if (general->parameters) {
        size_label(general->parameters, label, sizeof label);
        put_text(k, "general.size_label", label);
    }
    gguf_keys_count(k, GGUF_KEY_FILE_TYPE, file_type(general->file));
    gguf_keys_count(k, "general.quantization_version", QUANTIZATION_VERSION);
}

/* ---- keys of the model ---- */

static const char *key_of(const struct gguf_architecture *a, const char *name, char key[160])
{
    snprintf(key, 160, "%s.%s", a->name, name);
    return key;
}

static void put_yarn(struct gguf_keys *k, const struct gguf_architecture *a, const struct config *c)
{
    char key[160];
    double attention = c->rope.attention / yarn_attention(c);
    gguf_keys_number(k, key_of(a, GGUF_KEY_BETA_FAST, key), c->rope.high);
    gguf_keys_number(k, key_of(a, GGUF_KEY_BETA_SLOW, key), c->rope.low);
    if (fabs(attention - 1) > 1e-6)
        gguf_keys_number(k, key_of(a, GGUF_KEY_ATTN_FACTOR, key), attention);
}

static void put_positions(struct gguf_keys *k, const struct gguf_architecture *a,
                          const struct config *c)
{
    char key[160];
    enum rope_type type = c->rope.type;
    double theta =
        type == ROPE_NTK ? rope_ntk_theta(c->theta, c->rope.factor, c->rotary_dim) : c->theta;
    gguf_keys_number(k, key_of(a, GGUF_KEY_THETA, key), theta);
    /* The converter writes the original context of every phi3, even if positions are not scaled. */
    if (a->has_longrope || type == ROPE_YARN || (type == ROPE_LINEAR && !local_rope_is_whole(c)))
        gguf_keys_count(k, key_of(a, GGUF_KEY_ORIGINAL, key), (uint32_t)c->original_position);
    if (type == ROPE_LONGROPE)
        gguf_keys_number(k, key_of(a, GGUF_KEY_ATTN_FACTOR, key), c->rope.attention);
    if (type != ROPE_LINEAR && type != ROPE_YARN) return;
    put_text(k, key_of(a, GGUF_KEY_SCALING, key), rope_type_name(type));
    gguf_keys_number(k, key_of(a, GGUF_KEY_FACTOR, key), c->rope.factor);
    if (type == ROPE_YARN) put_yarn(k, a, c);
}

static void put_scales(struct gguf_keys *k, const struct gguf_architecture *a,
                       const struct config *c)
{
    char key[160];
    gguf_keys_number(k, key_of(a, GGUF_KEY_EMBEDDING_SCALE, key), c->embedding_scale);
    gguf_keys_number(k, key_of(a, GGUF_KEY_ATTENTION_SCALE, key), c->attention_scale);
    gguf_keys_number(k, key_of(a, GGUF_KEY_RESIDUAL_SCALE, key), c->residual_scale);
    gguf_keys_number(k, key_of(a, GGUF_KEY_LOGIT_SCALE, key), 1 / c->logit_scale);
}

void gguf_config_put(struct gguf_keys *k, const struct gguf_architecture *a, const struct config *c)
{
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = { { GGUF_KEY_LAYERS, c->layers },
                  { GGUF_KEY_CONTEXT, config_context(c) },
                  { GGUF_KEY_DIM, c->dim },
                  { GGUF_KEY_FFN, c->ffn },
                  { GGUF_KEY_HEADS, c->heads },
                  { GGUF_KEY_KV_HEADS, c->kv_heads },
                  { GGUF_KEY_KEY_LENGTH, c->head_dim },
                  { GGUF_KEY_VALUE_LENGTH, c->head_dim },
                  { GGUF_KEY_VOCAB, c->vocab },
                  { GGUF_KEY_ROPE_DIM, c->rotary_dim } };
    char key[160];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        gguf_keys_count(k, key_of(a, sizes[i].name, key), (uint32_t)sizes[i].value);
    gguf_keys_number(k, key_of(a, GGUF_KEY_NORM_EPS, key), c->norm_eps);
    put_positions(k, a, c);
    gguf_windows_put(k, a, c);
    if (a->has_scales) put_scales(k, a, c);
}

/* ---- position scaling ---- */

/* The factors of llama3 scaling. The arithmetic is f32, as in the converter. */
static void list_llama3(const struct config *c, float *factors)
{
    const struct rope *r = &c->rope;
    float original = (float)c->original_position, factor = (float)r->factor;
    float low = (float)r->low, high = (float)r->high;
    for (int64_t i = 0; i < c->rotary_dim / 2; i++) {
        float frequency = 1 / powf((float)c->theta, (float)(2 * i) / (float)c->rotary_dim);
        float length = (float)(2 * M_PI) / frequency;
        float smooth = (original / length - low) / (high - low);
        factors[i] = length < original / high  ? 1
                     : length > original / low ? factor
                                               : 1 / ((1 - smooth) / factor + smooth);
    }
}

/* Allocates the values of *to and copies `values` to them. If `values` is NULL, the caller writes
 * them. */
static int add_factors(struct gguf_factors *to, const char *name, const float *values,
                       int64_t count, struct fail *why)
{
    *to = (struct gguf_factors){ name, malloc((size_t)count * sizeof *values + 1), count };
    if (!to->values) return fail(why, "out of memory");
    if (values) memcpy(to->values, values, (size_t)count * sizeof *values);
    return 0;
}

int gguf_config_factors(const struct config *c, struct gguf_factors to[GGUF_FACTORS_MAX],
                        struct fail *why)
{
    const struct rope *r = &c->rope;
    int64_t count = c->rotary_dim / 2;
    to[0] = to[1] = (struct gguf_factors){ 0 };
    if (r->type == ROPE_LLAMA3) {
        if (add_factors(&to[0], GGUF_ROPE_FREQS, NULL, count, why)) return -1;
        list_llama3(c, to[0].values);
        return 1;
    }
    if (r->type != ROPE_LONGROPE) return 0;
    return add_factors(&to[0], GGUF_LONG_FACTORS, r->long_factor, count, why) ||
                   add_factors(&to[1], GGUF_SHORT_FACTORS, r->short_factor, count, why)
               ? -1
               : 2;
}

void gguf_config_serve_options(const struct config *c, char *text, size_t size)
{
    long long context = (long long)config_context(c), original = (long long)c->original_position;
    double factor = c->rope.factor;
    if (c->rope.type == ROPE_LINEAR)
        snprintf(text, size, "--rope-scaling linear --rope-scale %g -c %lld", factor, context);
    else if (c->rope.type == ROPE_NTK)
        snprintf(text, size, "--rope-freq-base %.9g -c %lld",
                 rope_ntk_theta(c->theta, factor, c->rotary_dim), context);
    else if (c->rope.type == ROPE_YARN)
        snprintf(text, size, "--rope-scaling yarn --rope-scale %g --yarn-orig-ctx %lld -c %lld",
                 factor, original, context);
    else
        snprintf(text, size, "-c %lld", context);
}
